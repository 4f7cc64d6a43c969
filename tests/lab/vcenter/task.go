// SPDX-License-Identifier: GPL-2.0-or-later

// Tasks that take time (the simulator's are over when the call returns), and those that concern snapshots and power.
package main

import (
	"context"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// guest is what the simulator does not know of a machine.
type guest struct {
	tools           bool          // VMware Tools run while it is on
	deaf            bool          // ignores a shutdown
	consolidateTime time.Duration // how long consolidationNeeded stays after a snapshot's removal
}

func (l *layer) guest(moref string) *guest {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.guests[moref] == nil {
		l.guests[moref] = &guest{tools: true} // stock machines
	}
	return l.guests[moref]
}

// runTask starts RUN when the task's time is over, and gives the task, which property collectors can watch. END is called
// when it has ended, also by CancelTask.
func (l *layer) runTask(entity types.ManagedObjectReference, method string, run func() (types.AnyType, types.BaseMethodFault),
	end func()) types.ManagedObjectReference {
	name := method[:len(method)-len("_Task")]
	task := simulator.CreateTask(entity, string(name[0]|0x20)+name[1:]+"Task", nil)
	set := func(changes ...types.PropertyChange) {
		simulator.Map.WithLock(task, func() { simulator.Map.Update(task, changes) })
	}
	cancelled := make(chan struct{})
	gate := l.noteTask(task.Self, cancelled)
	set(types.PropertyChange{Name: "info.startTime", Val: time.Now()},
		types.PropertyChange{Name: "info.cancelable", Val: l.o.cancelable},
		types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateRunning})
	go func() {
		var result types.AnyType
		var fault types.BaseMethodFault
		time.Sleep(l.o.taskTime)
		select {
		case <-gate:
			result, fault = run()
		case <-cancelled:
			fault = &types.RequestCanceled{}
		}
		end()
		changes := []types.PropertyChange{{Name: "info.completeTime", Val: time.Now()}}
		if fault != nil {
			changes = append(changes, types.PropertyChange{Name: "info.error", Val: *localized(fault)},
				types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateError})
		} else {
			if result != nil {
				changes = append(changes, types.PropertyChange{Name: "info.result", Val: result})
			}
			changes = append(changes, types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateSuccess})
		}
		set(changes...)
	}()
	return task.Self
}

// noteTask gives what is closed when tasks may go on: now, unless a test holds them.
func (l *layer) noteTask(task types.ManagedObjectReference, cancelled chan struct{}) chan struct{} {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.o.cancelable {
		l.cancels[task.Value] = cancelled
	}
	if l.gate != nil {
		return l.gate
	}
	open := make(chan struct{})
	close(open)
	return open
}

// holdTasks: those that begin from now on do not end before this is called with HOLD false.
func (l *layer) holdTasks(hold, cancelable bool) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.o.cancelable = cancelable
	if l.gate != nil {
		close(l.gate)
		l.gate = nil
	}
	if hold {
		l.gate = make(chan struct{})
	}
}

// cancelTask: a task that cannot be cancelled is not supported, as the reference has it; of the simulator's own tasks, all.
func (l *layer) cancelTask(c *call) (interface{}, types.BaseMethodFault) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	cancelled := l.cancels[c.This.Value]
	if cancelled == nil {
		return nil, &types.NotSupported{}
	}
	delete(l.cancels, c.This.Value)
	close(cancelled)
	return &emptyAnswer{}, nil
}

// machineTask is a task that no other task of the machine VM may run beside.
func (l *layer) machineTask(vm, entity types.ManagedObjectReference, method string,
	run func() (types.AnyType, types.BaseMethodFault)) (interface{}, types.BaseMethodFault) {
	l.mutex.Lock()
	taken := l.busy[vm.Value]
	l.busy[vm.Value] = true
	l.mutex.Unlock()
	if taken {
		return nil, &types.TaskInProgress{Task: vm}
	}
	return &taskAnswer{l.runTask(entity, method, run, func() { l.release(vm) })}, nil
}

func (l *layer) release(vm types.ManagedObjectReference) {
	l.mutex.Lock()
	delete(l.busy, vm.Value)
	l.mutex.Unlock()
}

func (l *layer) createSnapshot(c *call) (interface{}, types.BaseMethodFault) {
	vm, ok := simulator.Map.Get(c.This).(*simulator.VirtualMachine)
	if !ok {
		return nil, nil
	}
	request := types.CreateSnapshotRequestType(*c.Body.(*types.CreateSnapshot_Task))
	return l.machineTask(vm.Self, vm.Self, c.Name, func() (types.AnyType, types.BaseMethodFault) {
		return l.takeSnapshot(vm, &request)
	})
}

// takeSnapshot lets the simulator make the snapshot, then gives the machine a delta disk and the snapshot its content.
func (l *layer) takeSnapshot(vm *simulator.VirtualMachine, request *types.CreateSnapshotRequestType) (types.AnyType,
	types.BaseMethodFault) {
	var result types.AnyType
	var fault types.BaseMethodFault
	simulator.Map.WithLock(vm, func() {
		r := types.CreateSnapshot_Task(*request)
		body := vm.CreateSnapshotTask(&r).(*methods.CreateSnapshot_TaskBody)
		task := simulator.Map.Get(body.Res.Returnval).(*simulator.Task)
		simulator.Map.Remove(task.Self)
		if task.Info.Error != nil {
			fault = task.Info.Error.Fault.(types.BaseMethodFault)
			return
		}
		result = task.Info.Result
		if err := l.store.snapshot(vm, result.(types.ManagedObjectReference)); err != nil {
			fault = &types.FileFault{File: err.Error()}
		}
	})
	_ = l.store.writeMap()
	return result, fault
}

func (l *layer) removeSnapshot(c *call) (interface{}, types.BaseMethodFault) {
	snapshot, ok := simulator.Map.Get(c.This).(*simulator.VirtualMachineSnapshot)
	if !ok {
		return nil, nil
	}
	vm := simulator.Map.Get(snapshot.Vm).(*simulator.VirtualMachine)
	request := *c.Body.(*types.RemoveSnapshot_Task)
	return l.machineTask(vm.Self, snapshot.Self, c.Name, func() (types.AnyType, types.BaseMethodFault) {
		withFlatDisks(vm, func() {
			snapshot.RemoveSnapshotTask(&simulator.Context{Context: context.Background(), Map: simulator.Map}, &request)
		})
		return nil, l.forget(vm)
	})
}

func (l *layer) removeAllSnapshots(c *call) (interface{}, types.BaseMethodFault) {
	vm, ok := simulator.Map.Get(c.This).(*simulator.VirtualMachine)
	if !ok {
		return nil, nil
	}
	request := *c.Body.(*types.RemoveAllSnapshots_Task)
	return l.machineTask(vm.Self, vm.Self, c.Name, func() (types.AnyType, types.BaseMethodFault) {
		simulator.Map.WithLock(vm, func() {
			withFlatDisks(vm, func() {
				vm.RemoveAllSnapshotsTask(&simulator.Context{Context: context.Background(), Map: simulator.Map}, &request)
			})
		})
		return nil, l.forget(vm)
	})
}

// forget lets the store consolidate what belongs to snapshots that are gone.
func (l *layer) forget(vm *simulator.VirtualMachine) types.BaseMethodFault {
	var err error
	simulator.Map.WithLock(vm, func() { err = l.store.consolidate(vm) })
	_ = l.store.writeMap()
	if err != nil {
		return &types.FileFault{File: err.Error()}
	}
	if late := l.guest(vm.Self.Value).consolidateTime; late > 0 {
		setConsolidation(vm, true)
		time.AfterFunc(late, func() { setConsolidation(vm, false) })
	}
	return nil
}

func setConsolidation(vm *simulator.VirtualMachine, needed bool) {
	simulator.Map.WithLock(vm, func() {
		simulator.Map.Update(vm, []types.PropertyChange{{Name: "runtime.consolidationNeeded", Val: needed},
			{Name: "summary.runtime.consolidationNeeded", Val: needed}})
	})
}

func (l *layer) consolidate(c *call) (interface{}, types.BaseMethodFault) {
	vm, ok := simulator.Map.Get(c.This).(*simulator.VirtualMachine)
	if !ok {
		return nil, nil
	}
	return l.machineTask(vm.Self, vm.Self, c.Name, func() (types.AnyType, types.BaseMethodFault) {
		setConsolidation(vm, false)
		return nil, nil
	})
}

// shutdownGuest answers at once; the guest is down later, if at all.
func (l *layer) shutdownGuest(c *call) (interface{}, types.BaseMethodFault) {
	vm, ok := simulator.Map.Get(c.This).(*simulator.VirtualMachine)
	if !ok || vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
		return nil, nil
	}
	g := l.guest(vm.Self.Value)
	if !g.tools {
		return nil, &types.ToolsUnavailable{}
	}
	if !g.deaf {
		time.AfterFunc(l.o.shutdownTime, func() {
			simulator.Map.WithLock(vm, func() {
				vm.ShutdownGuest(&simulator.Context{Context: context.Background(), Map: simulator.Map, Caller: &vm.Self,
					Session: &simulator.Session{UserSession: types.UserSession{UserName: c.session.user}}},
					c.Body.(*types.ShutdownGuest))
			})
			l.setTools(vm)
			_ = l.store.writeMap()
		})
	}
	return &emptyAnswer{}, nil
}

// setTools: Tools run while the machine does, where it has them.
func (l *layer) setTools(vm *simulator.VirtualMachine) {
	tools := l.guest(vm.Self.Value).tools
	simulator.Map.WithLock(vm, func() {
		if vm.Guest.ToolsStatus == types.VirtualMachineToolsStatusToolsNotInstalled {
			return
		}
		running := string(types.VirtualMachineToolsRunningStatusGuestToolsNotRunning)
		status, state := types.VirtualMachineToolsStatusToolsNotRunning, "notRunning"
		if tools && vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
			running = string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
			status, state = types.VirtualMachineToolsStatusToolsOk, "running"
		}
		simulator.Map.Update(vm, []types.PropertyChange{
			{Name: "guest.toolsRunningStatus", Val: running}, {Name: "guest.toolsStatus", Val: status},
			{Name: "guest.guestState", Val: state}, {Name: "summary.guest.toolsRunningStatus", Val: running},
			{Name: "summary.guest.toolsStatus", Val: status}})
	})
}
