// SPDX-License-Identifier: GPL-2.0-or-later

// The .vmx of a machine, as libvirt's ESX driver and people read it. Written again whenever its disks change names.
package main

import (
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

type vmxText struct{ strings.Builder }

func (t *vmxText) set(key, format string, values ...interface{}) {
	fmt.Fprintf(t, "%s = \"%s\"\n", key, fmt.Sprintf(format, values...))
}

// vmxUUID: "564d1234-…" as "56 4d 12 34 …-…".
func vmxUUID(text string) string {
	digits := strings.ReplaceAll(text, "-", "")
	var words []string
	for i := 0; i+2 <= len(digits); i += 2 {
		words = append(words, digits[i:i+2])
	}
	if len(words) != 16 {
		return ""
	}
	return strings.Join(words[:8], " ") + "-" + strings.Join(words[8:], " ")
}

func writeVMX(vm *mo.VirtualMachine) error {
	file, err := filePath(vm.Config.Files.VmPathName)
	if err != nil {
		return err
	}
	t := &vmxText{}
	t.set(".encoding", "UTF-8")
	t.set("config.version", "8")
	t.set("virtualHW.version", "%s", strings.TrimPrefix(vm.Config.Version, "vmx-"))
	t.set("displayName", "%s", vm.Name)
	t.set("guestOS", "%s", strings.ToLower(strings.ReplaceAll(strings.TrimSuffix(vm.Config.GuestId, "Guest"), "_", "-")))
	t.set("numvcpus", "%d", vm.Config.Hardware.NumCPU)
	t.set("memsize", "%d", vm.Config.Hardware.MemoryMB)
	t.set("uuid.bios", "%s", vmxUUID(vm.Config.Uuid))
	t.set("vc.uuid", "%s", vmxUUID(vm.Config.InstanceUuid))
	if vm.Config.Firmware == "efi" {
		t.set("firmware", "efi")
	}
	if vm.Config.ChangeTrackingEnabled != nil && *vm.Config.ChangeTrackingEnabled {
		t.set("ctkEnabled", "TRUE")
	}
	t.devices(vm)
	return os.WriteFile(file, []byte(t.String()), 0600)
}

func (t *vmxText) devices(vm *mo.VirtualMachine) {
	list := object.VirtualDeviceList(vm.Config.Hardware.Device)
	written := map[string]bool{}
	nic := 0
	for _, device := range list {
		switch d := device.(type) {
		case *types.VirtualDisk:
			t.disk(list, d, written)
		case types.BaseVirtualEthernetCard:
			t.nic(fmt.Sprintf("ethernet%d", nic), d)
			nic++
		}
	}
}

// place: "scsi0", the controller's kind in a .vmx, and the word for a disk on it.
func place(list object.VirtualDeviceList, disk *types.VirtualDisk) (string, string, string) {
	switch c := list.FindByKey(disk.ControllerKey).(type) {
	case *types.ParaVirtualSCSIController:
		return fmt.Sprintf("scsi%d", c.BusNumber), "pvscsi", "scsi-hardDisk"
	case *types.VirtualLsiLogicController:
		return fmt.Sprintf("scsi%d", c.BusNumber), "lsilogic", "scsi-hardDisk"
	case *types.VirtualLsiLogicSASController:
		return fmt.Sprintf("scsi%d", c.BusNumber), "lsisas1068", "scsi-hardDisk"
	case *types.VirtualAHCIController:
		return fmt.Sprintf("sata%d", c.BusNumber), "", "ata-hardDisk"
	case *types.VirtualNVMEController:
		return fmt.Sprintf("nvme%d", c.BusNumber), "", "ata-hardDisk"
	case *types.VirtualIDEController:
		return fmt.Sprintf("ide%d", c.BusNumber), "", "ata-hardDisk"
	}
	return "", "", ""
}

func (t *vmxText) disk(list object.VirtualDeviceList, disk *types.VirtualDisk, written map[string]bool) {
	controller, kind, word := place(list, disk)
	backing, ok := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo)
	if controller == "" || !ok || disk.UnitNumber == nil {
		return
	}
	if !written[controller] && !strings.HasPrefix(controller, "ide") {
		t.set(controller+".present", "TRUE")
		if kind != "" {
			t.set(controller+".virtualDev", "%s", kind)
		}
	}
	written[controller] = true
	unit := fmt.Sprintf("%s:%d", controller, *disk.UnitNumber)
	t.set(unit+".present", "TRUE")
	t.set(unit+".deviceType", "%s", word)
	t.set(unit+".fileName", "%s", path.Base(backing.GetVirtualDeviceFileBackingInfo().FileName))
}

func (t *vmxText) nic(name string, device types.BaseVirtualEthernetCard) {
	card := device.GetVirtualEthernetCard()
	kind := "vmxnet3"
	switch device.(type) {
	case *types.VirtualE1000:
		kind = "e1000"
	case *types.VirtualE1000e:
		kind = "e1000e"
	}
	t.set(name+".present", "TRUE")
	t.set(name+".virtualDev", "%s", kind)
	switch b := card.Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		t.set(name+".networkName", "%s", b.DeviceName)
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		t.set(name+".dvs.switchId", "%s", vmxUUID(b.Port.SwitchUuid))
		t.set(name+".dvs.portId", "%s", "1")
		t.set(name+".dvs.portgroupId", "%s", b.Port.PortgroupKey)
		t.set(name+".dvs.connectionId", "1")
	}
	if card.AddressType == string(types.VirtualEthernetCardMacTypeManual) {
		t.set(name+".addressType", "static")
		t.set(name+".address", "%s", card.MacAddress)
	} else {
		t.set(name+".addressType", "vpx")
		t.set(name+".generatedAddress", "%s", card.MacAddress)
	}
}
