// SPDX-License-Identifier: GPL-2.0-or-later

// What somebody else does to the inventory while a client looks on: machines come, go and get other names.
package main

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// insider is a client without a session's limits, by a call within the process.
func (l *layer) insider(ctx context.Context) (*vim25.Client, error) {
	return vim25.NewClient(ctx, l.service)
}

func (l *layer) createMachine(name string) (interface{}, error) {
	ctx := context.Background()
	client, err := l.insider(ctx)
	if err != nil {
		return nil, err
	}
	m := &machine{Name: name}
	if err = m.create(ctx, client); err != nil {
		return nil, err
	}
	l.mutex.Lock()
	l.guests[m.vm.Self.Value] = &guest{}
	l.mutex.Unlock()
	if err = l.store.adopt(m); err != nil {
		return nil, err
	}
	return map[string]string{"moref": m.vm.Self.Value}, l.store.writeMap()
}

func (l *layer) destroyMachine(name string) error {
	var ref types.ManagedObjectReference
	if err := l.withMachine(name, func(vm *simulator.VirtualMachine) error {
		ref = vm.Self
		return nil
	}); err != nil {
		return err
	}
	ctx := context.Background()
	client, err := l.insider(ctx)
	if err != nil {
		return err
	}
	task, err := object.NewVirtualMachine(client, ref).Destroy(ctx)
	if err != nil {
		return err
	}
	return task.Wait(ctx)
}

// renameEntity: of a machine, folder, host, cluster or datacenter by its reference or its name.
func renameEntity(which, name string) error {
	for _, kind := range []string{"VirtualMachine", "Folder", "HostSystem", "Datacenter", "ClusterComputeResource"} {
		entity, ok := simulator.Map.Get(types.ManagedObjectReference{Type: kind, Value: which}).(mo.Entity)
		if !ok && which != "" {
			found, err := lookUp(kind, which)
			entity, ok = found, err == nil
		}
		if ok {
			simulator.Map.WithLock(entity, func() {
				simulator.Map.Update(entity, []types.PropertyChange{{Name: "name", Val: name}})
			})
			return nil
		}
	}
	return fmt.Errorf("there is no %q", which)
}
