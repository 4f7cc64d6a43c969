// SPDX-License-Identifier: GPL-2.0-or-later

// Virtual hardware of a described machine, with the keys that VMware gives (controllers 1000, 15000, 31000; disks 2000,
// 16000, 32000; NICs 4000), and the files behind its disks.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const pciKey = 100

type bus struct {
	controllerKey, diskKey int32
	reserved               int32 // the controller's own unit on a SCSI bus
}

var buses = map[string]bus{
	"pvscsi": {1000, 2000, 7}, "lsilogic": {1000, 2000, 7}, "lsisas": {1000, 2000, 7},
	"ide": {200, 3000, -1}, "sata": {15000, 16000, -1}, "nvme": {31000, 32000, -1},
}

func newController(kind string) (types.BaseVirtualDevice, error) {
	b, ok := buses[kind]
	if !ok {
		return nil, fmt.Errorf("no controller %q", kind)
	}
	unit := int32(3)
	base := types.VirtualController{VirtualDevice: types.VirtualDevice{Key: b.controllerKey, ControllerKey: pciKey,
		UnitNumber: &unit}}
	scsi := types.VirtualSCSIController{VirtualController: base, ScsiCtlrUnitNumber: 7,
		SharedBus: types.VirtualSCSISharingNoSharing, HotAddRemove: types.NewBool(true)}
	switch kind {
	case "pvscsi":
		return &types.ParaVirtualSCSIController{VirtualSCSIController: scsi}, nil
	case "lsilogic":
		return &types.VirtualLsiLogicController{VirtualSCSIController: scsi}, nil
	case "lsisas":
		return &types.VirtualLsiLogicSASController{VirtualSCSIController: scsi}, nil
	case "sata":
		return &types.VirtualAHCIController{VirtualSATAController: types.VirtualSATAController{VirtualController: base}}, nil
	case "nvme":
		return &types.VirtualNVMEController{VirtualController: base}, nil
	}
	return nil, nil // the two IDE controllers are there in any machine
}

// devices: a controller of each kind that is used, the disks, the NICs.
func (m *machine) devices() ([]types.BaseVirtualDevice, error) {
	var devices []types.BaseVirtualDevice
	used := map[int32]string{} // by the controller's key: one SCSI bus, whatever kind
	for n := range m.Disks {
		kind := m.Disks[n].Controller
		if kind == "" {
			kind = m.Controller
		}
		controller, err := newController(kind)
		if err != nil {
			return nil, err
		}
		if used[buses[kind].controllerKey] == "" && controller != nil {
			devices = append(devices, controller)
		}
		used[buses[kind].controllerKey] = kind
		disk, err := m.disk(n, buses[kind])
		if err != nil {
			return nil, err
		}
		devices = append(devices, disk)
	}
	for n, nic := range m.NICs {
		device, err := nic.device(int32(n))
		if err != nil {
			return nil, err
		}
		devices = append(devices, device)
	}
	if m.VTPM {
		devices = append(devices, &types.VirtualTPM{VirtualDevice: types.VirtualDevice{Key: 11000}})
	}
	return devices, nil
}

func (m *machine) disk(n int, b bus) (*types.VirtualDisk, error) {
	spec := &m.Disks[n]
	if spec.Name == "" {
		spec.Name = m.Name
		if n > 0 {
			spec.Name = fmt.Sprintf("%s_%d", m.Name, n)
		}
	}
	if spec.Datastore == "" {
		spec.Datastore = m.Datastore
	}
	if spec.Mode == "" {
		spec.Mode = string(types.VirtualDiskModePersistent)
	}
	name := fmt.Sprintf("[%s] %s/%s.vmdk", spec.Datastore, m.Name, spec.Name)
	size, err := placeDisk(name, spec)
	if err != nil {
		return nil, err
	}
	unit, controller := int32(n), b.controllerKey
	if b.reserved >= 0 && unit >= b.reserved {
		unit++
	}
	if b.controllerKey == buses["ide"].controllerKey {
		unit, controller = int32(n%2), b.controllerKey+int32(n/2)
	}
	backing := &types.VirtualDiskFlatVer2BackingInfo{
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: name}, DiskMode: spec.Mode,
		ThinProvisioned: types.NewBool(true), Sharing: spec.Sharing,
		Uuid: uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)).String(),
	}
	if spec.Encrypted {
		backing.KeyId = &types.CryptoKeyId{KeyId: "lab", ProviderId: &types.KeyProviderId{Id: "lab"}}
	}
	return &types.VirtualDisk{
		VirtualDevice: types.VirtualDevice{Key: b.diskKey + int32(n), ControllerKey: controller, UnitNumber: &unit,
			Backing:    backing,
			DeviceInfo: &types.Description{Label: fmt.Sprintf("Hard disk %d", n+1)}},
		CapacityInBytes: size, CapacityInKB: size / 1024,
	}, nil
}

// placeDisk puts the image into the datastore as NAME-flat.vmdk (a hard link where that goes, else a symbolic one: images
// are large) and writes NAME.vmdk. An image that does not exist is a hole.
func placeDisk(name string, spec *diskSpec) (int64, error) {
	descriptor, err := filePath(name)
	if err != nil {
		return 0, err
	}
	if err = os.MkdirAll(filepath.Dir(descriptor), 0700); err != nil {
		return 0, err
	}
	flat := extentPath(descriptor)
	size := spec.SizeBytes
	if spec.File == "" {
		file, err := os.OpenFile(flat, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0600)
		if err != nil {
			return 0, err
		}
		defer file.Close()
		if err = file.Truncate(size); err != nil {
			return 0, err
		}
	} else {
		source, err := filepath.Abs(spec.File)
		if err != nil {
			return 0, err
		}
		info, err := os.Stat(source)
		if err != nil {
			return 0, err
		}
		if size == 0 {
			size = info.Size()
		}
		if os.Link(source, flat) != nil {
			if err = os.Symlink(source, flat); err != nil {
				return 0, err
			}
		}
	}
	return size, os.WriteFile(descriptor, []byte(descriptorText(filepath.Base(flat), size, "")), 0600)
}

func extentPath(descriptor string) string {
	return descriptor[:len(descriptor)-len(".vmdk")] + "-flat.vmdk"
}

// descriptorText is that of a disk on VMFS; PARENT: the file name of the disk that this one is a delta of.
func descriptorText(extent string, sizeBytes int64, parent string) string {
	kind, access, hint := "vmfs", "VMFS", ""
	if parent != "" {
		kind, access = "vmfsSparse", "VMFSSPARSE"
		hint = fmt.Sprintf("parentFileNameHint=\"%s\"\n", parent)
	}
	parentCID := "ffffffff"
	if parent != "" {
		parentCID = "fffffffe"
	}
	return fmt.Sprintf("# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=fffffffe\nparentCID=%s\ncreateType=\"%s\"\n"+
		"%s\n# Extent description\nRW %d %s \"%s\"\n\n# The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\n"+
		"ddb.virtualHWVersion = \"19\"\n", parentCID, kind, hint, sizeBytes/512, access, extent)
}

// privateCopy makes PATH a file of its own: a reflink where the file system has them, else a copy with its holes.
func privateCopy(source, path string) error {
	output, err := exec.Command("cp", "--reflink=auto", "--sparse=always", "-L", "--", source, path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cp: %s", output)
	}
	return nil
}

func (nic *nicSpec) device(n int32) (types.BaseVirtualDevice, error) {
	backing, err := nic.backing()
	if err != nil {
		return nil, err
	}
	unit := 7 + n
	card := types.VirtualEthernetCard{
		VirtualDevice: types.VirtualDevice{Key: 4000 + n, ControllerKey: pciKey, UnitNumber: &unit, Backing: backing,
			DeviceInfo:  &types.Description{Label: fmt.Sprintf("Network adapter %d", n+1)},
			Connectable: &types.VirtualDeviceConnectInfo{StartConnected: true, Connected: true}},
		AddressType: string(types.VirtualEthernetCardMacTypeManual), MacAddress: nic.MAC,
	}
	if nic.MAC == "" {
		card.AddressType = string(types.VirtualEthernetCardMacTypeAssigned)
	}
	switch nic.Type {
	case "", "vmxnet3":
		return &types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: card}}, nil
	case "e1000":
		return &types.VirtualE1000{VirtualEthernetCard: card}, nil
	case "e1000e":
		return &types.VirtualE1000e{VirtualEthernetCard: card}, nil
	}
	return nil, fmt.Errorf("no NIC type %q", nic.Type)
}

func (nic *nicSpec) backing() (types.BaseVirtualDeviceBackingInfo, error) {
	for _, entity := range simulator.Map.All("DistributedVirtualPortgroup") {
		group := entity.(*simulator.DistributedVirtualPortgroup)
		if (nic.Network != "" && group.Name != nic.Network) || path.Ext(group.Name) == ".uplinks" ||
			(nic.Network == "" && group.Name != "DC0_DVPG0") {
			continue
		}
		dvs := simulator.Map.Get(*group.Config.DistributedVirtualSwitch).(*simulator.DistributedVirtualSwitch)
		return &types.VirtualEthernetCardDistributedVirtualPortBackingInfo{
			Port: types.DistributedVirtualSwitchPortConnection{PortgroupKey: group.Key, SwitchUuid: dvs.Uuid}}, nil
	}
	network, err := lookUp("Network", nic.Network)
	if err != nil {
		return nil, err
	}
	return &types.VirtualEthernetCardNetworkBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{
		DeviceName: entityName(network)}}, nil
}
