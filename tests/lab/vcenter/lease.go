// SPDX-License-Identifier: GPL-2.0-or-later

// Export leases: HttpNfcLease of a machine that is off, or of a snapshot, with stream-optimised disks.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Lease is in the simulator's registry: its property collector and dispatcher know it.
type Lease struct {
	mo.HttpNfcLease

	l       *layer
	session string
	vm      types.ManagedObjectReference
	files   map[string]leaseFile // by the last part of the URL
	timer   *time.Timer
	whole   bool // of the machine itself: no snapshot may be taken meanwhile
	percent []int32
}

type leaseFile struct {
	content string // a raw image; "": an empty file (nvram)
	name    string // "[datastore] path"
}

func (l *layer) exportVM(c *call) (interface{}, types.BaseMethodFault) {
	vm, ok := simulator.Map.Get(c.This).(*simulator.VirtualMachine)
	if !ok {
		return nil, nil
	}
	if vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOff {
		return nil, &types.InvalidPowerState{RequestedState: types.VirtualMachinePowerStatePoweredOff,
			ExistingState: vm.Runtime.PowerState}
	}
	l.mutex.Lock()
	taken := l.busy[vm.Self.Value]
	l.busy[vm.Self.Value] = true
	l.mutex.Unlock()
	if taken {
		return nil, &types.TaskInProgress{Task: vm.Self}
	}
	lease, fault := l.newLease(c, vm, "")
	if fault != nil {
		l.release(vm.Self)
		return nil, fault
	}
	return &taskAnswer{lease.Self}, nil
}

func (l *layer) exportSnapshot(c *call) (interface{}, types.BaseMethodFault) {
	snapshot, ok := simulator.Map.Get(c.This).(*simulator.VirtualMachineSnapshot)
	if !ok {
		return nil, nil
	}
	lease, fault := l.newLease(c, simulator.Map.Get(snapshot.Vm).(*simulator.VirtualMachine), snapshot.Self.Value)
	if fault != nil {
		return nil, fault
	}
	return &taskAnswer{lease.Self}, nil
}

func (l *layer) newLease(c *call, vm *simulator.VirtualMachine, snapshot string) (*Lease, types.BaseMethodFault) {
	lease := &Lease{l: l, session: c.session.key, vm: vm.Self, files: map[string]leaseFile{}, whole: snapshot == ""}
	lease.Self = types.ManagedObjectReference{Type: "HttpNfcLease",
		Value: fmt.Sprintf("session[%s]%s", c.session.key, uuid.New())}
	lease.State = types.HttpNfcLeaseStateInitializing
	info := &types.HttpNfcLeaseInfo{Lease: lease.Self, Entity: c.This,
		LeaseTimeout: int32((l.o.leaseTimeout + time.Second - 1) / time.Second)}
	var err error
	simulator.Map.WithLock(vm, func() { err = lease.describe(vm, snapshot, info) })
	if err != nil {
		return nil, &types.FileFault{File: err.Error()}
	}
	simulator.Map.Put(lease)
	l.mutex.Lock()
	l.leases[lease.Self] = lease
	lease.timer = time.AfterFunc(l.o.leaseTimeout, func() { lease.end(&types.Timedout{}) })
	l.mutex.Unlock()
	time.AfterFunc(l.o.leaseUp, func() {
		simulator.Map.WithLock(lease, func() {
			if lease.State == types.HttpNfcLeaseStateInitializing {
				simulator.Map.Update(lease, []types.PropertyChange{{Name: "info", Val: *info},
					{Name: "initializeProgress", Val: int32(100)},
					{Name: "state", Val: types.HttpNfcLeaseStateReady}})
			}
		})
	})
	return lease, nil
}

// describe lists the files: disks, the last first, as nothing promises their order (a snapshot has no independent ones), and the nvram of UEFI machines.
func (lease *Lease) describe(vm *simulator.VirtualMachine, snapshot string, info *types.HttpNfcLeaseInfo) error {
	l := lease.l
	chain := l.store.of(vm)
	l.store.editing.Lock()
	defer l.store.editing.Unlock()
	devices := object.VirtualDeviceList(vm.Config.Hardware.Device)
	prefix := fmt.Sprintf("https://%s/nfc/%s/", l.address, uuid.New())
	add := func(key, target string, isDisk bool, file leaseFile, size int64) {
		lease.files[strings.TrimPrefix(prefix, "https://"+l.address+"/nfc/")+target] = file
		info.DeviceUrl = append(info.DeviceUrl, types.HttpNfcLeaseDeviceUrl{
			Key: "/" + vm.Self.Value + "/" + key, ImportKey: "/" + vm.Name + "/" + key, Url: prefix + target,
			SslThumbprint: l.identity.thumbprint(), Disk: types.NewBool(isDisk), TargetId: target, FileSize: size})
	}
	for n := len(chain.disks) - 1; n >= 0; n-- {
		d := chain.disks[n]
		link, ok := chain.at(d, snapshot)
		if !ok || d.raw || (snapshot != "" && !d.tracked) {
			continue
		}
		frozen, err := l.store.freeze(link.content)
		if err != nil {
			return err
		}
		if link == d.running() {
			d.owned = false
		}
		info.TotalDiskCapacityInKB += d.size / 1024
		device, _ := devices.FindByKey(d.key).(*types.VirtualDisk)
		add(symbolicName(devices, device), fmt.Sprintf("disk-%d.vmdk", n), true, leaseFile{frozen, link.name},
			allocated(frozen))
	}
	if vm.Config.Firmware == "efi" {
		name := strings.TrimSuffix(vm.Config.Files.VmPathName, ".vmx") + ".nvram"
		add("nvram", path.Base(strings.TrimSuffix(name, ".nvram"))+".nvram", false, leaseFile{"", name}, 0)
	}
	return nil
}

// symbolicName: "ParaVirtualSCSIController0:0".
func symbolicName(devices object.VirtualDeviceList, disk *types.VirtualDisk) string {
	if disk == nil || disk.UnitNumber == nil {
		return "disk"
	}
	controller := devices.FindByKey(disk.ControllerKey)
	number := int32(0)
	if base, ok := controller.(types.BaseVirtualController); ok {
		number = base.GetVirtualController().BusNumber
	}
	return fmt.Sprintf("%s%d:%d", devices.TypeName(controller), number, *disk.UnitNumber)
}

func allocated(path string) int64 {
	var status syscall.Stat_t
	if syscall.Stat(path, &status) != nil {
		return 0
	}
	return status.Blocks * 512
}

// end ends the lease with an error, or without (FAULT nil: completed or aborted by the client).
func (lease *Lease) end(fault types.BaseMethodFault) {
	l := lease.l
	l.mutex.Lock()
	_, open := l.leases[lease.Self]
	delete(l.leases, lease.Self)
	l.mutex.Unlock()
	if !open {
		return
	}
	lease.timer.Stop()
	if lease.whole {
		l.release(lease.vm)
	}
	if fault == nil {
		simulator.Map.Remove(lease.Self)
		return
	}
	simulator.Map.WithLock(lease, func() {
		simulator.Map.Update(lease, []types.PropertyChange{{Name: "error", Val: *localized(fault)},
			{Name: "state", Val: types.HttpNfcLeaseStateError}})
	})
}

func (lease *Lease) fault() *soap.Fault {
	if lease.State != types.HttpNfcLeaseStateReady {
		if lease.Error != nil {
			return simulator.Fault("", lease.Error.Fault.(types.BaseMethodFault))
		}
		return simulator.Fault("", &types.InvalidState{})
	}
	return nil
}

func (lease *Lease) HttpNfcLeaseProgress(r *types.HttpNfcLeaseProgress) soap.HasFault {
	if fault := lease.fault(); fault != nil {
		return &methods.HttpNfcLeaseProgressBody{Fault_: fault}
	}
	lease.l.mutex.Lock()
	lease.timer.Reset(lease.l.o.leaseTimeout)
	lease.percent = append(lease.percent, r.Percent)
	lease.l.mutex.Unlock()
	simulator.Map.Update(lease, []types.PropertyChange{{Name: "transferProgress", Val: r.Percent}})
	return &methods.HttpNfcLeaseProgressBody{Res: new(types.HttpNfcLeaseProgressResponse)}
}

func (lease *Lease) HttpNfcLeaseComplete(r *types.HttpNfcLeaseComplete) soap.HasFault {
	if fault := lease.fault(); fault != nil {
		return &methods.HttpNfcLeaseCompleteBody{Fault_: fault}
	}
	lease.State = types.HttpNfcLeaseStateDone
	lease.l.countEnd("lease completed")
	lease.end(nil)
	return &methods.HttpNfcLeaseCompleteBody{Res: new(types.HttpNfcLeaseCompleteResponse)}
}

func (lease *Lease) HttpNfcLeaseAbort(r *types.HttpNfcLeaseAbort) soap.HasFault {
	lease.l.countEnd("lease aborted")
	lease.end(nil)
	return &methods.HttpNfcLeaseAbortBody{Res: new(types.HttpNfcLeaseAbortResponse)}
}

func (l *layer) countEnd(what string) {
	l.mutex.Lock()
	l.calls[what]++
	l.mutex.Unlock()
}

// ---- /nfc ----

// stream is a stream-optimised disk by qemu-img, made once for each content.
type stream struct {
	once sync.Once
	path string
	err  error
}

func (l *layer) streamOf(content string) (string, error) {
	var status syscall.Stat_t
	if err := syscall.Stat(content, &status); err != nil {
		return "", err
	}
	key := fmt.Sprintf("%d-%d-%d-%d", status.Dev, status.Ino, status.Mtim.Sec, status.Mtim.Nsec)
	l.mutex.Lock()
	s := l.streams[key]
	if s == nil {
		s = &stream{}
		l.streams[key] = s
	}
	l.mutex.Unlock()
	s.once.Do(func() {
		s.path = filepath.Join(l.state, "contents", "stream-"+key+".vmdk")
		output, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized",
			content, s.path).CombinedOutput()
		if err != nil {
			s.err = fmt.Errorf("qemu-img: %s", output)
		}
	})
	return s.path, s.err
}

// nfc serves a lease's file from its beginning to its end: no length, no ranges.
func (l *layer) nfc(w http.ResponseWriter, r *http.Request) {
	if l.findSession(r) == nil {
		http.Error(w, "401 Unauthorized", http.StatusUnauthorized)
		return
	}
	if r.Method != http.MethodGet {
		http.Error(w, "405 Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	file, ok := l.leaseFile(strings.TrimPrefix(r.URL.Path, "/nfc/"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	if order := l.obey("nfc"); order != nil && order.fault != nil {
		http.Error(w, "500 Internal Server Error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-vnd.vmware-streamVmdk")
	if file.content == "" {
		return
	}
	out := bufio.NewWriterSize(&leaseWriter{l.meter(w, r, "lease", file.name), l, r.URL.Path[len("/nfc/"):]}, 64<<10)
	err := l.sendStream(out, file)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		panic(http.ErrAbortHandler) // breaks off: the stream's end must not look like one
	}
}

func (l *layer) sendStream(out io.Writer, file leaseFile) error {
	if l.o.streamFormat != "qemu" {
		return writeStream(out, file.content, path.Base(file.name))
	}
	stream, err := l.streamOf(file.content)
	if err != nil {
		return err
	}
	source, err := os.Open(stream)
	if err != nil {
		return err
	}
	defer source.Close()
	_, err = io.Copy(out, source)
	return err
}

// leaseWriter stops when the lease has ended.
type leaseWriter struct {
	http.ResponseWriter
	l    *layer
	path string
}

func (w *leaseWriter) Write(p []byte) (int, error) {
	if _, open := w.l.leaseFile(w.path); !open {
		return 0, io.ErrClosedPipe
	}
	return w.ResponseWriter.Write(p)
}

func (l *layer) leaseFile(path string) (leaseFile, bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for _, lease := range l.leases {
		if file, ok := lease.files[path]; ok {
			return file, true
		}
	}
	return leaseFile{}, false
}
