// SPDX-License-Identifier: GPL-2.0-or-later

// The layer around the simulator's handler: what arrives is counted, delayed, refused by order of a test, held against its
// session, answered by us where the simulator cannot, and passed on otherwise.
//
// Locks: an object's lock of the simulator's registry first, then the layer's mutex, which is held for short.
package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

type layer struct {
	o        *options
	password string
	state    string
	address  string // host:port of the server
	identity *identity
	inner    http.Handler
	service  *simulator.Service
	store    *store

	mutex    sync.Mutex
	sessions map[string]*session
	orders   []*order
	calls    map[string]int
	served   map[string]int64 // bytes by "folder:[datastore] path" and "lease:[datastore] path"
	answered map[string]int64 // bytes of answers by method, those that the simulator gave
	leases   map[types.ManagedObjectReference]*Lease
	busy     map[string]bool          // machines with a task
	cancels  map[string]chan struct{} // of tasks that can be cancelled
	gate     chan struct{}            // closed when tasks that wait for it may go on; nil: none waits
	guests   map[string]*guest
	streams  map[string]*stream

	transfers []*transfer
}

func newLayer(o *options, state, password string, identity *identity, machines []*machine) (*layer, error) {
	l := &layer{o: o, state: state, password: password, identity: identity,
		sessions: map[string]*session{}, calls: map[string]int{}, served: map[string]int64{},
		answered: map[string]int64{},
		leases:   map[types.ManagedObjectReference]*Lease{}, busy: map[string]bool{}, cancels: map[string]chan struct{}{}, guests: map[string]*guest{},
		streams: map[string]*stream{}}
	var err error
	if l.store, err = newStore(state); err != nil {
		return nil, err
	}
	installCollector(o.pageSize)
	for _, m := range machines {
		l.guests[m.vm.Self.Value] = &guest{tools: m.Tools == "running"}
		if err = l.store.adopt(m); err != nil {
			return nil, err
		}
		for _, name := range m.Snapshots {
			if _, fault := l.takeSnapshot(m.vm, &types.CreateSnapshotRequestType{This: m.vm.Self, Name: name}); fault != nil {
				return nil, faultError(fault)
			}
		}
	}
	return l, l.store.writeMap()
}

func (l *layer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/sdk" || r.URL.Path == "/sdk/vimService":
		l.soap(w, r)
	case strings.HasPrefix(r.URL.Path, "/folder/") || r.URL.Path == "/folder":
		l.folder(w, r)
	case strings.HasPrefix(r.URL.Path, "/nfc/"):
		l.nfc(w, r)
	default:
		l.inner.ServeHTTP(w, r)
	}
}

// call is a request on its way.
type call struct {
	*simulator.Method
	text    []byte
	session *session
}

// ours: the methods that we answer ourselves. A nil answer with a nil fault: the simulator is to answer after all.
func (l *layer) ours(name string) func(*call) (interface{}, types.BaseMethodFault) {
	switch name {
	case "CreateSnapshot_Task":
		return l.createSnapshot
	case "RemoveSnapshot_Task":
		return l.removeSnapshot
	case "RemoveAllSnapshots_Task":
		return l.removeAllSnapshots
	case "ConsolidateVMDisks_Task":
		return l.consolidate
	case "QueryChangedDiskAreas":
		return l.queryChanged
	case "ExportVm":
		return l.exportVM
	case "ExportSnapshot":
		return l.exportSnapshot
	case "CancelTask":
		return l.cancelTask
	case "ShutdownGuest":
		return l.shutdownGuest
	}
	return nil
}

func (l *layer) soap(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	method, err := simulator.UnmarshalBody(types.TypeFunc(), text)
	if err != nil {
		l.pass(w, r, &call{Method: &simulator.Method{}, text: text})
		return
	}
	c := &call{Method: method, text: text, session: l.findSession(r)}
	order := l.obey(c.Name)
	switch {
	case order != nil && order.hangUp:
		panic(http.ErrAbortHandler)
	case order != nil && order.inTask && strings.HasSuffix(c.Name, "_Task"):
		ref := l.runTask(c.This, c.Name, func() (types.AnyType, types.BaseMethodFault) { return nil, order.fault },
			func() {})
		writeAnswer(w, c.Name+"Response", &taskAnswer{ref})
		return
	case order != nil && order.fault != nil:
		writeFault(w, order.message, order.fault)
		return
	}
	if fault := l.admit(c); fault != nil {
		writeFault(w, "", fault)
		return
	}
	if answer := l.ours(c.Name); answer != nil {
		value, fault := answer(c)
		if fault != nil {
			writeFault(w, "", fault)
			return
		}
		if value != nil {
			writeAnswer(w, c.Name+"Response", value)
			return
		}
	}
	l.pass(w, r, c)
}

// pass lets the simulator answer, and mends its answer.
func (l *layer) pass(w http.ResponseWriter, r *http.Request, c *call) {
	if c.Name == "Login" {
		c.text = l.asMainUser(c)
	}
	recorder := httptest.NewRecorder()
	request := r.Clone(r.Context())
	request.Body = io.NopCloser(bytes.NewReader(c.text))
	request.ContentLength = int64(len(c.text))
	l.withFlatDisks(c, func() { l.inner.ServeHTTP(recorder, request) })
	if c.Name == "Login" && recorder.Code == http.StatusOK {
		l.loggedIn(c, recorder)
	}
	if recorder.Code == http.StatusOK {
		l.afterwards(c)
	}
	for name, values := range recorder.Header() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.WriteHeader(recorder.Code)
	answer := typeArrays(recorder.Body.Bytes())
	l.mutex.Lock()
	l.answered[c.Name] += int64(len(answer))
	l.mutex.Unlock()
	_, _ = w.Write(answer)
}

// withFlatDisks hides raw mappings from calls in which the simulator takes each disk for a flat one.
func (l *layer) withFlatDisks(c *call, f func()) {
	vm, ok := simulator.Map.Get(c.This).(*simulator.VirtualMachine)
	if ok && c.Name == "ReconfigVM_Task" {
		withFlatDisks(vm, f)
		return
	}
	f()
}

func withFlatDisks(vm *simulator.VirtualMachine, f func()) {
	mapped := map[*types.VirtualDisk]types.BaseVirtualDeviceBackingInfo{}
	for _, device := range vm.Config.Hardware.Device {
		disk, ok := device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		if raw, ok := disk.Backing.(*types.VirtualDiskRawDiskMappingVer1BackingInfo); ok {
			mapped[disk] = raw
			disk.Backing = &types.VirtualDiskFlatVer2BackingInfo{
				VirtualDeviceFileBackingInfo: raw.VirtualDeviceFileBackingInfo, DiskMode: raw.DiskMode}
		}
	}
	defer func() {
		for disk, backing := range mapped {
			disk.Backing = backing
		}
	}()
	f()
}

// afterwards does what follows from a call that the simulator has carried out.
func (l *layer) afterwards(c *call) {
	vm, ok := simulator.Map.Get(c.This).(*simulator.VirtualMachine)
	if !ok {
		return
	}
	switch c.Name {
	case "PowerOnVM_Task":
		l.setTools(vm)
		simulator.Map.WithLock(vm, func() { l.store.stunned(vm) })
	case "PowerOffVM_Task", "SuspendVM_Task", "ResetVM_Task":
		l.setTools(vm)
	case "ReconfigVM_Task":
		simulator.Map.WithLock(vm, func() {
			l.store.reconfigured(vm)
			simulator.Map.Update(vm, []types.PropertyChange{
				{Name: "config.changeVersion", Val: time.Now().UTC().Format(time.RFC3339Nano)}})
		})
	default:
		return
	}
	_ = l.store.writeMap()
}

// ---- what a test has ordered ----

type order struct {
	method  string
	fault   types.BaseMethodFault
	message string
	inTask  bool
	hangUp  bool // the connection is closed in place of an answer
	delay   time.Duration
	left    int // calls; -1: all
}

// obey counts the call, waits where that was ordered, and gives the order to fail it, if there is one.
func (l *layer) obey(method string) *order {
	l.mutex.Lock()
	l.calls[method]++
	var failing *order
	var delay time.Duration
	for _, o := range l.orders {
		fails := o.fault != nil || o.hangUp
		if (o.method != method && o.method != "*") || o.left == 0 || (fails && failing != nil) {
			continue
		}
		if o.left > 0 {
			o.left--
		}
		if fails {
			failing = o
		} else {
			delay += o.delay
		}
	}
	l.mutex.Unlock()
	time.Sleep(delay)
	return failing
}
