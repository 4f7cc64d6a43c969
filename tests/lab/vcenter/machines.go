// SPDX-License-Identifier: GPL-2.0-or-later

// Machines by description: a JSON file says which, govmomi's simulator creates them, what it has no notion of is set in
// its objects afterwards.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

type diskSpec struct {
	File       string `json:"file"`       // a raw image; none: a hole of size_bytes
	Name       string `json:"name"`       // of the .vmdk, without extension; default: VM, VM_1, ...
	SizeBytes  int64  `json:"size_bytes"` // default: the file's
	Mode       string `json:"mode"`       // persistent (default), independent_persistent, ...
	RDM        string `json:"rdm"`        // physicalMode or virtualMode
	Sharing    string `json:"sharing"`    // sharingMultiWriter
	Encrypted  bool   `json:"encrypted"`
	Datastore  string `json:"datastore"`
	Controller string `json:"controller"` // default: the machine's
}

type nicSpec struct {
	MAC     string `json:"mac"`
	Type    string `json:"type"`    // vmxnet3 (default), e1000, e1000e
	Network string `json:"network"` // default: the model's
}

type machine struct {
	Name           string     `json:"name"`
	Power          string     `json:"power"` // off (default), on
	GuestID        string     `json:"guest_id"`
	GuestName      string     `json:"guest_name"`
	Firmware       string     `json:"firmware"`
	SecureBoot     bool       `json:"secure_boot"`
	CPUs           int32      `json:"cpus"`
	MemoryMB       int64      `json:"memory_mb"`
	Version        string     `json:"version"` // vmx-19
	Annotation     string     `json:"annotation"`
	Datacenter     string     `json:"datacenter"`
	Folder         string     `json:"folder"`
	Host           string     `json:"host"`
	Datastore      string     `json:"datastore"`
	Controller     string     `json:"controller"` // pvscsi (default), lsilogic, lsisas, sata, ide, nvme
	Disks          []diskSpec `json:"disks"`
	NICs           []nicSpec  `json:"nics"`
	Snapshots      []string   `json:"snapshots"`
	Tools          string     `json:"tools"` // running, notRunning (default), notInstalled
	Encrypted      bool       `json:"encrypted"`
	VTPM           bool       `json:"vtpm"`
	Template       bool       `json:"template"`
	ChangeTracking bool       `json:"change_tracking"`
	Connection     string     `json:"connection"` // connected (default), disconnected, inaccessible, invalid, orphaned
	Tags           []string   `json:"tags"`       // "category/tag"; vpx only

	vm *simulator.VirtualMachine
}

func readMachines(file string) ([]*machine, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var described struct {
		Machines []*machine `json:"machines"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err = decoder.Decode(&described); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return described.Machines, nil
}

// lookUp finds an inventory object by type and name; the first by reference where NAME is empty.
func lookUp(kind, name string) (mo.Entity, error) {
	var found mo.Entity
	for _, entity := range simulator.Map.All(kind) {
		if name != "" && entityName(entity) != name {
			continue
		}
		if found == nil || entity.Reference().Value < found.Reference().Value {
			found = entity
		}
	}
	if found == nil {
		return nil, fmt.Errorf("there is no %s %q", kind, name)
	}
	return found, nil
}

func entityName(entity mo.Entity) string {
	switch e := entity.(type) {
	case *simulator.DistributedVirtualPortgroup:
		return e.Name
	case *mo.Network:
		return e.Name
	}
	return entity.Entity().Name
}

// datastores maps each datastore's name to its directory.
func datastores() map[string]string {
	directories := map[string]string{}
	for _, entity := range simulator.Map.All("Datastore") {
		ds := entity.(*simulator.Datastore)
		directories[ds.Name] = ds.Info.GetDatastoreInfo().Url
	}
	return directories
}

func morefs(machines []*machine) map[string]string {
	all := map[string]string{}
	for _, m := range machines {
		all[m.Name] = m.vm.Self.Value
	}
	return all
}

// filePath is where "[datastore] path" lies.
func filePath(name string) (string, error) {
	var p object.DatastorePath
	if !p.FromString(name) {
		return "", fmt.Errorf("%q is no datastore path", name)
	}
	directory, ok := datastores()[p.Datastore]
	if !ok {
		return "", fmt.Errorf("there is no datastore %q", p.Datastore)
	}
	return path.Join(directory, p.Path), nil
}

func createMachines(o *options, model *simulator.Model) ([]*machine, error) {
	ctx := context.Background()
	client, err := vim25.NewClient(ctx, model.Service)
	if err != nil {
		return nil, err
	}
	machines, err := readMachines(o.machines)
	if err != nil {
		return nil, err
	}
	for _, m := range machines {
		if err = m.create(ctx, client); err != nil {
			return nil, fmt.Errorf("machine %q: %w", m.Name, err)
		}
	}
	return machines, nil
}

// place finds (or makes) where the machine goes.
func (m *machine) place(ctx context.Context, client *vim25.Client) (*object.Folder, *object.ResourcePool,
	*object.HostSystem, error) {
	entity, err := lookUp("Datacenter", m.Datacenter)
	if err != nil {
		return nil, nil, nil, err
	}
	folders, err := object.NewDatacenter(client, entity.Reference()).Folders(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	folder := folders.VmFolder
	for _, word := range strings.FieldsFunc(m.Folder, func(r rune) bool { return r == '/' }) {
		if folder, err = folderIn(ctx, client, folder, word); err != nil {
			return nil, nil, nil, err
		}
	}
	entity, err = lookUp("HostSystem", m.Host)
	if err != nil {
		return nil, nil, nil, err
	}
	host := object.NewHostSystem(client, entity.Reference())
	pool, err := host.ResourcePool(ctx)
	return folder, pool, host, err
}

func folderIn(ctx context.Context, client *vim25.Client, parent *object.Folder, name string) (*object.Folder, error) {
	for _, child := range simulator.Map.Get(parent.Reference()).(*simulator.Folder).ChildEntity {
		folder, ok := simulator.Map.Get(child).(*simulator.Folder)
		if ok && folder.Name == name {
			return object.NewFolder(client, child), nil
		}
	}
	return parent.CreateFolder(ctx, name)
}

func (m *machine) create(ctx context.Context, client *vim25.Client) error {
	m.setDefaults()
	folder, pool, host, err := m.place(ctx, client)
	if err != nil {
		return err
	}
	spec, err := m.configSpec()
	if err != nil {
		return err
	}
	task, err := folder.CreateVM(ctx, *spec, pool, host)
	if err != nil {
		return err
	}
	info, err := task.WaitForResult(ctx, nil)
	if err != nil {
		return err
	}
	ref := info.Result.(types.ManagedObjectReference)
	if m.Power == "on" {
		if _, err = object.NewVirtualMachine(client, ref).PowerOn(ctx); err != nil {
			return err
		}
	}
	m.vm = simulator.Map.Get(ref).(*simulator.VirtualMachine)
	m.finish()
	return writeVMX(&m.vm.VirtualMachine)
}

func (m *machine) setDefaults() {
	text := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	text(&m.GuestID, "otherGuest64")
	text(&m.GuestName, m.GuestID)
	text(&m.Firmware, "bios")
	text(&m.Datastore, "LocalDS_0")
	text(&m.Controller, "pvscsi")
	text(&m.Tools, "notRunning")
	text(&m.Connection, "connected")
	text(&m.Version, "vmx-19")
	if m.CPUs == 0 {
		m.CPUs = 1
	}
	if m.MemoryMB == 0 {
		m.MemoryMB = 512
	}
}

func (m *machine) configSpec() (*types.VirtualMachineConfigSpec, error) {
	devices, err := m.devices()
	if err != nil {
		return nil, err
	}
	spec := &types.VirtualMachineConfigSpec{
		Name: m.Name, GuestId: m.GuestID, Firmware: m.Firmware, NumCPUs: m.CPUs, MemoryMB: m.MemoryMB,
		Annotation: m.Annotation, Version: m.Version,
		Files: &types.VirtualMachineFileInfo{
			VmPathName: fmt.Sprintf("[%s] %s/%s.vmx", m.Datastore, m.Name, m.Name)},
	}
	if m.SecureBoot {
		spec.BootOptions = &types.VirtualMachineBootOptions{EfiSecureBootEnabled: types.NewBool(true)}
	}
	if m.ChangeTracking {
		spec.ChangeTrackingEnabled = types.NewBool(true)
	}
	for _, device := range devices {
		spec.DeviceChange = append(spec.DeviceChange,
			&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: device})
	}
	return spec, nil
}

// finish sets what CreateVM does not.
func (m *machine) finish() {
	vm := &m.vm.VirtualMachine
	vm.Config.GuestFullName, vm.Summary.Config.GuestFullName = m.GuestName, m.GuestName
	running := string(types.VirtualMachineToolsRunningStatusGuestToolsNotRunning)
	status := types.VirtualMachineToolsStatusToolsNotRunning
	state := "notRunning"
	switch {
	case m.Tools == "notInstalled":
		status = types.VirtualMachineToolsStatusToolsNotInstalled
	case m.Tools == "running" && m.Power == "on":
		running = string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
		status, state = types.VirtualMachineToolsStatusToolsOk, "running"
	}
	vm.Guest.ToolsRunningStatus, vm.Guest.ToolsStatus, vm.Guest.GuestState = running, status, state
	vm.Summary.Guest.ToolsRunningStatus, vm.Summary.Guest.ToolsStatus = running, status
	vm.Runtime.ConnectionState = types.VirtualMachineConnectionState(m.Connection)
	vm.Summary.Runtime.ConnectionState = vm.Runtime.ConnectionState
	vm.Config.Template, vm.Summary.Config.Template = m.Template, m.Template
	if m.Encrypted {
		vm.Config.KeyId = &types.CryptoKeyId{KeyId: "lab", ProviderId: &types.KeyProviderId{Id: "lab"}}
	}
	vm.Capability.ChangeTrackingSupported = types.NewBool(true)
	m.makeRDMs()
}

// makeRDMs turns disks into raw mappings: CreateVM knows flat ones only.
func (m *machine) makeRDMs() {
	for _, device := range m.vm.Config.Hardware.Device {
		disk, ok := device.(*types.VirtualDisk)
		if !ok || int(disk.Key)%1000 >= len(m.Disks) {
			continue
		}
		spec := m.Disks[int(disk.Key)%1000]
		flat, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if !ok || spec.RDM == "" {
			continue
		}
		disk.Backing = &types.VirtualDiskRawDiskMappingVer1BackingInfo{
			VirtualDeviceFileBackingInfo: flat.VirtualDeviceFileBackingInfo, DiskMode: flat.DiskMode, Uuid: flat.Uuid,
			LunUuid: "02000000006000c29lab", DeviceName: "vml.02000000006000c29lab", CompatibilityMode: spec.RDM,
			Sharing: flat.Sharing,
		}
	}
}
