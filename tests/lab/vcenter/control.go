// SPDX-License-Identifier: GPL-2.0-or-later

// The control port: what a test does behind the client's back. POST /NAME with a JSON object, answered by one.
//
//	status                                   sessions, leases, snapshots by machine, calls by method (and "cut:lease",
//	                                         "cut:folder": downloads that were dropped), bytes served,
//	                                         bytes of answers by method
//	expire_sessions   key, leases            ends all sessions (or one); leases: false keeps their leases
//	fail              method, fault, count, in_task, message, fields
//	                                         the next COUNT (-1: all) calls of METHOD ("*", "folder", "nfc" too) fail with
//	                                         a fault of that type; in_task: a task is given that fails
//	hang_up           method, count          the connection is closed in place of an answer
//	delay             method, ms, count
//	drop              where, after_bytes, count   closes the connection of a download (where: lease, folder)
//	throttle          where, bytes_per_s     0: no more
//	clear                                    no more fail, delay, drop, throttle
//	write             vm, disk, offset, data (base64), or byte and length   as the running guest does; disk: device key or
//	                                         position
//	set_machine       vm, tools, deaf, consolidation_needed, consolidate_ms, connection, power (by its task: with events)
//	hold_tasks        hold, cancelable       tasks of machines that begin from now on end when this is called again, or by
//	                                         CancelTask, if they are cancelable
//	create            vm                     a machine of that name, as the JSON file's are; gives its moref
//	rename            vm, to                 vm: a folder, host, cluster or datacenter, too
//	destroy           vm                     one that is off
//	reset_change_tracking  vm
//	renew_certificate                        gives the new thumbprint
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

type request struct {
	Key    string `json:"key"`
	Leases *bool  `json:"leases"`

	Method  string          `json:"method"`
	Fault   string          `json:"fault"`
	Count   *int            `json:"count"`
	InTask  bool            `json:"in_task"`
	Message string          `json:"message"`
	Fields  json.RawMessage `json:"fields"`
	MS      int             `json:"ms"`

	Where      string `json:"where"`
	AfterBytes int64  `json:"after_bytes"`
	Rate       int64  `json:"bytes_per_s"`

	VM     string `json:"vm"`
	To     string `json:"to"`
	Disk   int32  `json:"disk"`
	Offset int64  `json:"offset"`
	Data   []byte `json:"data"`
	Byte   byte   `json:"byte"`
	Length int64  `json:"length"`

	Tools               *bool  `json:"tools"`
	Deaf                *bool  `json:"deaf"`
	ConsolidationNeeded *bool  `json:"consolidation_needed"`
	ConsolidateMS       *int   `json:"consolidate_ms"`
	Connection          string `json:"connection"`
	Power               string `json:"power"`

	Hold       bool `json:"hold"`
	Cancelable bool `json:"cancelable"`
}

func (r *request) count() int {
	if r.Count == nil {
		return 1
	}
	return *r.Count
}

// serveControl gives the port.
func (l *layer) serveControl() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	go func() { _ = http.Serve(listener, http.HandlerFunc(l.control)) }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func (l *layer) control(w http.ResponseWriter, r *http.Request) {
	var q request
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer, err := l.command(r.URL.Path, &q)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if answer == nil {
		answer = map[string]interface{}{}
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (l *layer) command(name string, q *request) (interface{}, error) {
	switch name {
	case "/status":
		return l.status(), nil
	case "/expire_sessions":
		return map[string]int{"ended": l.expire(q.Key, q.Leases == nil || *q.Leases)}, nil
	case "/fail":
		return nil, l.orderFault(q)
	case "/hang_up":
		l.addOrder(&order{method: q.Method, hangUp: true, left: q.count()})
		return nil, nil
	case "/delay":
		l.addOrder(&order{method: q.Method, delay: time.Duration(q.MS) * time.Millisecond, left: q.count()})
		return nil, nil
	case "/drop":
		return nil, l.addTransfer(&transfer{where: q.Where, dropAfter: q.AfterBytes, left: q.count()})
	case "/throttle":
		return nil, l.addTransfer(&transfer{where: q.Where, dropAfter: -1, rate: q.Rate})
	case "/clear":
		l.mutex.Lock()
		l.orders, l.transfers = nil, nil
		l.mutex.Unlock()
		return nil, nil
	case "/write":
		return nil, l.write(q)
	case "/set_machine":
		return nil, l.setMachine(q)
	case "/hold_tasks":
		l.holdTasks(q.Hold, q.Cancelable)
		return nil, nil
	case "/create":
		return l.createMachine(q.VM)
	case "/rename":
		return nil, renameEntity(q.VM, q.To)
	case "/destroy":
		return nil, l.destroyMachine(q.VM)
	case "/reset_change_tracking":
		return nil, l.withMachine(q.VM, l.store.resetTracking)
	case "/renew_certificate":
		if err := l.identity.renew(); err != nil {
			return nil, err
		}
		return map[string]string{"thumbprint": l.identity.thumbprint()},
			l.identity.write(filepath.Join(l.state, "certificate.pem"))
	}
	return nil, fmt.Errorf("no such command")
}

func (l *layer) addOrder(o *order) {
	l.mutex.Lock()
	l.orders = append(l.orders, o)
	l.mutex.Unlock()
}

func (l *layer) addTransfer(t *transfer) error {
	if t.where != "lease" && t.where != "folder" {
		return fmt.Errorf("where: lease or folder")
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if t.dropAfter < 0 { // the newest rate counts
		kept := l.transfers[:0]
		for _, old := range l.transfers {
			if old.where != t.where || old.dropAfter >= 0 {
				kept = append(kept, old)
			}
		}
		l.transfers = kept
	}
	l.transfers = append(l.transfers, t)
	return nil
}

func (l *layer) orderFault(q *request) error {
	kind, ok := types.TypeFunc()(q.Fault)
	if !ok {
		return fmt.Errorf("no fault type %q", q.Fault)
	}
	fault, ok := reflect.New(kind).Interface().(types.BaseMethodFault)
	if !ok {
		return fmt.Errorf("%q is no fault", q.Fault)
	}
	if len(q.Fields) > 0 {
		if err := json.Unmarshal(q.Fields, fault); err != nil {
			return err
		}
	}
	l.addOrder(&order{method: q.Method, fault: fault, message: q.Message, inTask: q.InTask, left: q.count()})
	return nil
}

// withMachine calls F with the machine of that moref or name, its lock held, and writes the map.
func (l *layer) withMachine(name string, f func(*simulator.VirtualMachine) error) error {
	ref := types.ManagedObjectReference{Type: "VirtualMachine", Value: name}
	vm, ok := simulator.Map.Get(ref).(*simulator.VirtualMachine)
	if !ok {
		entity, err := lookUp("VirtualMachine", name)
		if err != nil || name == "" {
			return fmt.Errorf("there is no machine %q", name)
		}
		vm = entity.(*simulator.VirtualMachine)
	}
	var err error
	simulator.Map.WithLock(vm, func() { err = f(vm) })
	if err != nil {
		return err
	}
	return l.store.writeMap()
}

func (l *layer) write(q *request) error {
	return l.withMachine(q.VM, func(vm *simulator.VirtualMachine) error {
		c := l.store.of(vm)
		d := c.disk(q.Disk)
		if d == nil && int(q.Disk) < len(c.disks) {
			d = c.disks[q.Disk]
		}
		if d == nil {
			return fmt.Errorf("no disk %d", q.Disk)
		}
		bytes := q.Data
		if bytes == nil {
			bytes = make([]byte, q.Length)
			for i := range bytes {
				bytes[i] = q.Byte
			}
		}
		if q.Offset < 0 || q.Offset+int64(len(bytes)) > d.size {
			return fmt.Errorf("past the disk's end")
		}
		path, err := l.store.own(d)
		if err != nil {
			return err
		}
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = file.WriteAt(bytes, q.Offset)
		return err
	})
}

func (l *layer) setMachine(q *request) error {
	var vm *simulator.VirtualMachine
	err := l.withMachine(q.VM, func(found *simulator.VirtualMachine) error {
		vm = found
		var changes []types.PropertyChange
		if q.Connection != "" {
			state := types.VirtualMachineConnectionState(q.Connection)
			changes = append(changes, types.PropertyChange{Name: "runtime.connectionState", Val: state},
				types.PropertyChange{Name: "summary.runtime.connectionState", Val: state})
		}
		l.switchPower(found, q.Power)
		if len(changes) > 0 {
			simulator.Map.Update(vm, changes)
		}
		return nil
	})
	if err != nil {
		return err
	}
	g := l.guest(vm.Self.Value)
	l.mutex.Lock()
	if q.Tools != nil {
		g.tools = *q.Tools
	}
	if q.Deaf != nil {
		g.deaf = *q.Deaf
	}
	if q.ConsolidateMS != nil {
		g.consolidateTime = time.Duration(*q.ConsolidateMS) * time.Millisecond
	}
	l.mutex.Unlock()
	if q.ConsolidationNeeded != nil {
		setConsolidation(vm, *q.ConsolidationNeeded)
	}
	l.setTools(vm)
	return nil
}

// switchPower: as somebody at the console does, with the simulator's own tasks, which record events.
func (l *layer) switchPower(vm *simulator.VirtualMachine, power string) {
	ctx := &simulator.Context{Context: context.Background(), Map: simulator.Map,
		Session: &simulator.Session{UserSession: types.UserSession{UserName: "console"}}}
	switch power {
	case "on":
		vm.PowerOnVMTask(ctx, &types.PowerOnVM_Task{This: vm.Self})
		l.store.stunned(vm)
	case "off":
		vm.PowerOffVMTask(ctx, &types.PowerOffVM_Task{This: vm.Self})
	case "suspended":
		vm.SuspendVMTask(ctx, &types.SuspendVM_Task{This: vm.Self})
	}
}

func (l *layer) status() interface{} {
	type aSession struct {
		Key     string `json:"key"`
		User    string `json:"user"`
		LoginAt string `json:"login_at"`
	}
	type aLease struct {
		Moref   string  `json:"moref"`
		VM      string  `json:"vm"`
		State   string  `json:"state"`
		Percent []int32 `json:"percent"`
	}
	sessions, leases, calls, served := []aSession{}, []aLease{}, map[string]int{}, map[string]int64{}
	l.mutex.Lock()
	for _, s := range l.sessions {
		sessions = append(sessions, aSession{s.key, s.user, s.login.UTC().Format(time.RFC3339)})
	}
	open := map[string]*Lease{}
	for _, lease := range l.leases {
		leases = append(leases, aLease{lease.Self.Value, lease.vm.Value, "", append([]int32{}, lease.percent...)})
		open[lease.Self.Value] = lease
	}
	for k, v := range l.calls {
		calls[k] = v
	}
	for k, v := range l.served {
		served[k] = v
	}
	answered := map[string]int64{}
	for k, v := range l.answered {
		answered[k] = v
	}
	l.mutex.Unlock()
	for i := range leases { // the state has the object's lock, which is taken before ours
		lease := open[leases[i].Moref]
		simulator.Map.WithLock(lease, func() { leases[i].State = string(lease.State) })
	}
	snapshots := map[string][]string{}
	l.store.editing.Lock()
	l.store.mutex.Lock()
	for moref, c := range l.store.chains {
		snapshots[moref] = append([]string{}, c.snapshots...)
	}
	l.store.mutex.Unlock()
	l.store.editing.Unlock()
	return map[string]interface{}{"sessions": sessions, "leases": leases, "calls": calls, "served_bytes": served,
		"answer_bytes": answered,
		"snapshots":    snapshots}
}
