// SPDX-License-Identifier: GPL-2.0-or-later

// What each machine's disks hold, now and at each snapshot.
//
// A disk is a chain of links, the oldest first: link i is a .vmdk with the whole content that the disk had at snapshot i,
// the last is the running one. Removing snapshot i gives its link's name to the content of the next, which is what
// consolidation does. Contents are files that are never written again once a snapshot or a change id stands for them:
// "freezing" is a hard link, and the running disk is copied away (reflink, holes kept) when the next write comes.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

type link struct {
	name     string // "[datastore] dir/name.vmdk"
	content  string // the file with the whole content
	changeID string // "" without change tracking
}

type disk struct {
	key     int32
	size    int64
	tracked bool // in snapshots, and with change tracking: no independent disk, no raw mapping
	raw     bool // a raw mapping
	links   []link
	owned   bool // the running content is a file of its own, which may be written
	deltas  int

	history string         // first part of the change ids; "" while tracking is not in effect
	number  int            // last part of the newest
	changes map[int]string // content at each
}

type chain struct {
	snapshots []string // morefs, one fewer than links
	disks     []*disk
}

type store struct {
	mutex   sync.Mutex // of chains, the table
	editing sync.Mutex // of what is in them; taken with the machine's lock held, or alone
	state   string
	folder  string // of contents
	next    int
	chains  map[string]*chain
	mapLock sync.Mutex
}

func newStore(state string) (*store, error) {
	s := &store{state: state, folder: filepath.Join(state, "contents"), chains: map[string]*chain{}}
	return s, os.MkdirAll(s.folder, 0700)
}

func backingName(device *types.VirtualDisk) string {
	if backing, ok := device.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
		return backing.GetVirtualDeviceFileBackingInfo().FileName
	}
	return ""
}

// of gives the chain of a machine, made from its devices at the first question.
func (s *store) of(vm *simulator.VirtualMachine) *chain {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if c := s.chains[vm.Self.Value]; c != nil {
		return c
	}
	c := &chain{}
	for _, device := range vm.Config.Hardware.Device {
		d, ok := device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		name := backingName(d)
		descriptor, err := filePath(name)
		if err != nil {
			continue
		}
		flat, isFlat := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		tracked := isFlat && !strings.HasPrefix(flat.DiskMode, "independent")
		size := d.CapacityInBytes
		if size == 0 {
			size = d.CapacityInKB * 1024
		}
		content := extentPath(descriptor)
		if info, err := os.Stat(content); err == nil && info.Size() == 0 { // a stock machine's
			_ = os.Truncate(content, size)
		}
		c.disks = append(c.disks, &disk{key: d.Key, size: size, tracked: tracked, raw: !isFlat, changes: map[int]string{},
			links: []link{{name: name, content: content}}})
	}
	s.chains[vm.Self.Value] = c
	return c
}

// adopt takes over a described machine; its change tracking, where it is on, has long been in effect.
func (s *store) adopt(m *machine) error {
	s.editing.Lock()
	defer s.editing.Unlock()
	c := s.of(m.vm)
	if !m.ChangeTracking {
		return nil
	}
	for _, d := range c.disks {
		if err := s.startTracking(d); err != nil {
			return err
		}
	}
	return s.apply(m.vm, c)
}

// freeze gives a file that keeps the content of PATH: whoever writes to PATH later must break the link first.
func (s *store) freeze(path string) (string, error) {
	s.next++
	frozen := filepath.Join(s.folder, fmt.Sprintf("%d.raw", s.next))
	return frozen, os.Link(path, frozen)
}

func (d *disk) running() *link { return &d.links[len(d.links)-1] }

// ---- change tracking ----

func isTracking(vm *simulator.VirtualMachine) bool {
	return vm.Config.ChangeTrackingEnabled != nil && *vm.Config.ChangeTrackingEnabled
}

func (s *store) startTracking(d *disk) error {
	if !d.tracked {
		return nil
	}
	digits := strings.ReplaceAll(uuid.New().String(), "-", "")
	d.history, d.number, d.changes = vmxUUID(digits), 0, map[int]string{}
	return s.mark(d)
}

// mark notes the running content under the next change id.
func (s *store) mark(d *disk) error {
	frozen, err := s.freeze(d.running().content)
	if err != nil {
		return err
	}
	d.owned = false
	d.number++
	d.changes[d.number] = frozen
	d.running().changeID = fmt.Sprintf("%s/%d", d.history, d.number)
	return nil
}

// stunned: the machine has just been stopped for a moment (power on, a snapshot's end), which is when tracking that was
// switched on takes effect. The caller holds the machine's lock.
func (s *store) stunned(vm *simulator.VirtualMachine) {
	s.editing.Lock()
	defer s.editing.Unlock()
	c := s.of(vm)
	s.activate(vm, c)
	_ = s.apply(vm, c)
}

func (s *store) activate(vm *simulator.VirtualMachine, c *chain) {
	if !isTracking(vm) {
		return
	}
	for _, d := range c.disks {
		if d.tracked && d.history == "" {
			_ = s.startTracking(d)
		}
	}
}

// reconfigured: switching tracking off ends all histories.
func (s *store) reconfigured(vm *simulator.VirtualMachine) {
	s.editing.Lock()
	defer s.editing.Unlock()
	c := s.of(vm)
	if isTracking(vm) {
		return
	}
	for _, d := range c.disks {
		d.history = ""
		for i := range d.links {
			d.links[i].changeID = ""
		}
	}
	_ = s.apply(vm, c)
}

// resetTracking begins other histories, as after a crash or a storage migration.
func (s *store) resetTracking(vm *simulator.VirtualMachine) error {
	s.editing.Lock()
	defer s.editing.Unlock()
	c := s.of(vm)
	for _, d := range c.disks {
		if d.history != "" {
			if err := s.startTracking(d); err != nil {
				return err
			}
		}
	}
	return s.apply(vm, c)
}

// ---- snapshots; the caller holds the machine's lock ----

func (s *store) snapshot(vm *simulator.VirtualMachine, ref types.ManagedObjectReference) error {
	s.editing.Lock()
	defer s.editing.Unlock()
	c := s.of(vm)
	for _, d := range c.disks {
		if !d.tracked {
			continue
		}
		if err := s.addLink(d, isTracking(vm)); err != nil {
			return err
		}
	}
	c.snapshots = append(c.snapshots, ref.Value)
	return s.apply(vm, c)
}

// addLink: the running link becomes the snapshot's, a delta of it runs on. Tracking that was switched on but not yet in
// effect takes effect with the delta: this snapshot has no change id yet.
func (s *store) addLink(d *disk, tracking bool) error {
	if d.history != "" {
		if err := s.mark(d); err != nil {
			return err
		}
	}
	frozen, err := s.freeze(d.running().content)
	if err != nil {
		return err
	}
	old := *d.running()
	d.running().content = frozen
	d.owned = false
	d.deltas++
	name, err := d.addDelta(old.name)
	if err != nil {
		return err
	}
	content, err := s.freeze(frozen)
	if err != nil {
		return err
	}
	d.links = append(d.links, link{name: name, content: content, changeID: old.changeID})
	if tracking && d.history == "" {
		return s.startTracking(d)
	}
	return nil
}

// addDelta writes the files of NAME-00000N.vmdk. What the delta would hold nobody reads from the datastore.
func (d *disk) addDelta(parent string) (string, error) {
	base := strings.TrimSuffix(d.links[0].name, ".vmdk")
	name := fmt.Sprintf("%s-%06d.vmdk", base, d.deltas)
	descriptor, err := filePath(name)
	if err != nil {
		return "", err
	}
	delta := strings.TrimSuffix(descriptor, ".vmdk") + "-delta.vmdk"
	if err = os.WriteFile(delta, nil, 0600); err != nil {
		return "", err
	}
	text := descriptorText(filepath.Base(delta), d.size, path.Base(parent))
	return name, os.WriteFile(descriptor, []byte(text), 0600)
}

// consolidate drops the links of snapshots that are gone.
func (s *store) consolidate(vm *simulator.VirtualMachine) error {
	s.editing.Lock()
	defer s.editing.Unlock()
	c := s.of(vm)
	for i := 0; i < len(c.snapshots); {
		ref := types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: c.snapshots[i]}
		if simulator.Map.Get(ref) != nil {
			i++
			continue
		}
		c.snapshots = append(c.snapshots[:i:i], c.snapshots[i+1:]...)
		for _, d := range c.disks {
			if !d.tracked {
				continue
			}
			if err := s.dropLink(d, i); err != nil {
				return err
			}
		}
	}
	for _, d := range c.disks { // the end of a consolidation stuns the machine: change ids go on
		if d.history != "" {
			if err := s.mark(d); err != nil {
				return err
			}
		}
	}
	s.activate(vm, c)
	return s.apply(vm, c)
}

// dropLink: the content after link I takes its name, and where that is the base, its place in the datastore.
func (s *store) dropLink(d *disk, i int) error {
	gone := d.links[i+1].name
	d.links[i+1].name = d.links[i].name
	d.links = append(d.links[:i:i], d.links[i+1:]...)
	if descriptor, err := filePath(gone); err == nil {
		_ = os.Remove(descriptor)
		_ = os.Remove(strings.TrimSuffix(descriptor, ".vmdk") + "-delta.vmdk")
	}
	if i > 0 {
		return nil
	}
	descriptor, err := filePath(d.links[0].name)
	if err != nil {
		return err
	}
	flat := extentPath(descriptor)
	if err = replaceByLink(d.links[0].content, flat); err != nil {
		return err
	}
	if len(d.links) == 1 {
		if d.owned { // the running content has two names now: only one may be written
			_ = os.Remove(d.links[0].content)
		}
		d.links[0].content = flat
	}
	return nil
}

func replaceByLink(source, target string) error {
	if one, err := os.Stat(source); err == nil {
		if other, err := os.Stat(target); err == nil && os.SameFile(one, other) {
			return nil
		}
	}
	temporary := target + ".new"
	if err := os.Link(source, temporary); err != nil {
		return err
	}
	return os.Rename(temporary, target)
}

// own makes the running content a file that may be written, and gives its path.
func (s *store) own(d *disk) (string, error) {
	s.editing.Lock()
	defer s.editing.Unlock()
	content := d.running().content
	if d.owned {
		return content, nil
	}
	temporary := content + ".new"
	if err := privateCopy(content, temporary); err != nil {
		return "", err
	}
	if err := os.Chmod(temporary, 0600); err != nil {
		return "", err
	}
	if err := os.Rename(temporary, content); err != nil {
		return "", err
	}
	d.owned = true
	return content, nil
}

// ---- what the simulator's objects show of it ----

// apply gives the devices of the machine and of its snapshots their names, parents and change ids. Devices are replaced,
// never altered: a snapshot shares them with the machine.
func (s *store) apply(vm *simulator.VirtualMachine, c *chain) error {
	devices := c.devices(vm.Config.Hardware.Device, -1)
	simulator.Map.Update(vm, []types.PropertyChange{{Name: "config.hardware.device", Val: devices}})
	for i, moref := range c.snapshots {
		ref := types.ManagedObjectReference{Type: "VirtualMachineSnapshot", Value: moref}
		if snapshot, ok := simulator.Map.Get(ref).(*simulator.VirtualMachineSnapshot); ok {
			snapshot.Config.Hardware.Device = c.devices(snapshot.Config.Hardware.Device, i)
		}
	}
	return writeVMX(&vm.VirtualMachine)
}

// devices with disks as at snapshot I, where they are in another order; -1: now.
func (c *chain) devices(old []types.BaseVirtualDevice, i int) []types.BaseVirtualDevice {
	devices := make([]types.BaseVirtualDevice, len(old))
	copy(devices, old)
	for n, device := range devices {
		was, ok := device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		d := c.disk(was.Key)
		flat, ok := was.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if d == nil || !d.tracked || !ok {
			continue
		}
		last := i
		if i < 0 {
			last = len(d.links) - 1
		}
		now := *was
		now.Backing = d.backing(flat, last)
		devices[n] = &now
	}
	if i >= 0 {
		sort.SliceStable(devices, func(a, b int) bool {
			return devices[a].GetVirtualDevice().Key > devices[b].GetVirtualDevice().Key
		})
	}
	return devices
}

func (d *disk) backing(like *types.VirtualDiskFlatVer2BackingInfo, i int) *types.VirtualDiskFlatVer2BackingInfo {
	backing := *like
	backing.FileName, backing.ChangeId, backing.Parent = d.links[i].name, d.links[i].changeID, nil
	if i > 0 {
		backing.Parent = d.backing(like, i-1)
		backing.Parent.ChangeId = ""
		backing.DeltaDiskFormat = "redoLogFormat"
	}
	return &backing
}

func (c *chain) disk(key int32) *disk {
	for _, d := range c.disks {
		if d.key == key {
			return d
		}
	}
	return nil
}

// at gives the content of a disk at a snapshot ("" or nil: now).
func (c *chain) at(d *disk, snapshot string) (*link, bool) {
	if snapshot == "" {
		return d.running(), true
	}
	for i, moref := range c.snapshots {
		if moref == snapshot && i < len(d.links) {
			return &d.links[i], true
		}
	}
	return nil, false
}

// ---- datastore-map.json ----

type mapEntry struct {
	VM       string `json:"vm"`
	Snapshot string `json:"snapshot"` // "": the machine as it is now, by the names of all its files
	Path     string `json:"path"`
	File     string `json:"file"`
	Size     int64  `json:"size_bytes"`
	Current  bool   `json:"current"` // the file that a running machine writes to
}

// writeMap says which file holds what, for those who read disks without us (the double of the VDDK).
func (s *store) writeMap() error {
	s.mapLock.Lock()
	defer s.mapLock.Unlock()
	entries := []mapEntry{}
	s.editing.Lock()
	s.mutex.Lock()
	for moref, c := range s.chains {
		for _, d := range c.disks {
			for i, l := range d.links {
				entries = append(entries, mapEntry{moref, "", l.name, l.content, d.size, i == len(d.links)-1})
				if i < len(c.snapshots) && d.tracked {
					entries = append(entries, mapEntry{moref, c.snapshots[i], l.name, l.content, d.size, false})
				}
			}
		}
	}
	s.mutex.Unlock()
	s.editing.Unlock()
	sort.Slice(entries, func(a, b int) bool {
		x, y := entries[a], entries[b]
		return x.VM+"\x00"+x.Snapshot+"\x00"+x.Path < y.VM+"\x00"+y.Snapshot+"\x00"+y.Path
	})
	text, err := json.MarshalIndent(map[string]interface{}{"disks": entries}, "", " ")
	if err != nil {
		return err
	}
	file := filepath.Join(s.state, "datastore-map.json")
	if err = os.WriteFile(file+".new", text, 0600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
