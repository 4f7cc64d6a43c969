<?xml version="1.0" encoding="UTF-8"?>
<val xmlns="urn:vim25" xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="VirtualMachineConfigInfo">
  <changeVersion>2024-05-02T10:11:12.123456Z</changeVersion>
  <name>web%2f1</name>
  <guestFullName>Red Hat Enterprise Linux 9 (64-bit)</guestFullName>
  <version>vmx-19</version>
  <uuid>4220FCA7-11dd-d67e-19cc-fcad0a37c342</uuid>
  <instanceUuid>5020a1c2-7f4e-0a2b-90de-3f9a1b2c3d4e</instanceUuid>
  <template>false</template>
  <guestId>rhel9_64Guest</guestId>
  <annotation>shop &amp; cart
second line</annotation>
  <files>
    <vmPathName>[ds1] web/web.vmx</vmPathName>
  </files>
  <hardware>
    <numCPU>8</numCPU>
    <numCoresPerSocket>4</numCoresPerSocket>
    <memoryMB>6144</memoryMB>
    <device xsi:type="VirtualIDEController"><key>200</key><busNumber>0</busNumber></device>
    <device xsi:type="VirtualIDEController"><key>201</key><busNumber>1</busNumber></device>
    <device xsi:type="VirtualPCIController"><key>100</key><busNumber>0</busNumber><device>1000</device><device>4000</device></device>
    <device xsi:type="VirtualSIOController"><key>400</key><busNumber>0</busNumber></device>
    <device xsi:type="VirtualNVMEController"><key>31000</key><controllerKey>100</controllerKey><unitNumber>30</unitNumber><busNumber>0</busNumber></device>
    <device xsi:type="ParaVirtualSCSIController"><key>1000</key><controllerKey>100</controllerKey><unitNumber>3</unitNumber><busNumber>0</busNumber><device>2000</device><device>2001</device><sharedBus>noSharing</sharedBus><scsiCtlrUnitNumber>7</scsiCtlrUnitNumber></device>
    <device xsi:type="VirtualLsiLogicSASController"><key>1001</key><controllerKey>100</controllerKey><unitNumber>4</unitNumber><busNumber>1</busNumber><device>2016</device><sharedBus>physicalSharing</sharedBus></device>
    <device xsi:type="VirtualAHCIController"><key>15000</key><controllerKey>100</controllerKey><unitNumber>24</unitNumber><busNumber>0</busNumber></device>
    <device xsi:type="VirtualDisk">
      <key>31000000</key>
      <deviceInfo><label>Hard disk 4</label><summary>1,048,576 KB</summary></deviceInfo>
      <backing xsi:type="VirtualDiskFlatVer2BackingInfo">
        <fileName>[ds 2] web/cache.vmdk</fileName>
        <datastore type="Datastore">datastore-12</datastore>
        <diskMode>independent_nonpersistent</diskMode>
      </backing>
      <controllerKey>31000</controllerKey><unitNumber>0</unitNumber>
      <capacityInKB>1048576</capacityInKB><capacityInBytes>1073741824</capacityInBytes>
    </device>
    <device xsi:type="VirtualDisk">
      <key>2001</key>
      <deviceInfo><label>Hard disk 2</label><summary>2,097,152 KB</summary></deviceInfo>
      <backing xsi:type="VirtualDiskRawDiskMappingVer1BackingInfo">
        <fileName>[ds1] web/web_1.vmdk</fileName>
        <datastore type="Datastore">datastore-11</datastore>
        <lunUuid>0200000000600508b1001c</lunUuid>
        <deviceName>vml.0200000000600508b1001c</deviceName>
        <compatibilityMode>physicalMode</compatibilityMode>
        <diskMode>independent_persistent</diskMode>
        <sharing>sharingNone</sharing>
      </backing>
      <controllerKey>1000</controllerKey><unitNumber>1</unitNumber>
      <capacityInKB>2097152</capacityInKB>
    </device>
    <device xsi:type="VirtualDisk">
      <key>2000</key>
      <deviceInfo><label>Hard disk 1</label><summary>16,777,216 KB</summary></deviceInfo>
      <backing xsi:type="VirtualDiskFlatVer2BackingInfo">
        <fileName>[ds1] web/web-000002.vmdk</fileName>
        <datastore type="Datastore">datastore-11</datastore>
        <diskMode>persistent</diskMode>
        <thinProvisioned>true</thinProvisioned>
        <uuid>6000C29a-1b2c-3d4e-5f60-718293a4b5c6</uuid>
        <changeId>52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63/81</changeId>
        <parent>
          <fileName>[ds1] web/web-000001.vmdk</fileName>
          <diskMode>persistent</diskMode>
          <parent>
            <fileName>[ds1] web/web.vmdk</fileName>
            <diskMode>persistent</diskMode>
          </parent>
        </parent>
        <deltaDiskFormat>redoLogFormat</deltaDiskFormat>
        <sharing>sharingNone</sharing>
      </backing>
      <controllerKey>1000</controllerKey><unitNumber>0</unitNumber>
      <capacityInKB>16777216</capacityInKB><capacityInBytes>17179869184</capacityInBytes>
    </device>
    <device xsi:type="VirtualDisk">
      <key>2016</key>
      <deviceInfo><label>Hard disk 3</label></deviceInfo>
      <backing xsi:type="VirtualDiskRawDiskVer2BackingInfo">
        <deviceName>/vmfs/devices/disks/x</deviceName>
        <descriptorFileName>[ds1] web/raw.vmdk</descriptorFileName>
        <changeId>52 00/7</changeId>
      </backing>
      <controllerKey>1001</controllerKey><unitNumber>0</unitNumber>
      <capacityInKB>1024</capacityInKB>
    </device>
    <device xsi:type="VirtualCdrom">
      <key>16000</key>
      <deviceInfo><label>CD/DVD drive 1</label></deviceInfo>
      <backing xsi:type="VirtualCdromIsoBackingInfo"><fileName>[iso] rhel.iso</fileName></backing>
      <controllerKey>15000</controllerKey><unitNumber>0</unitNumber>
    </device>
    <device xsi:type="VirtualCdrom">
      <key>3002</key>
      <backing xsi:type="VirtualCdromRemotePassthroughBackingInfo"><deviceName></deviceName></backing>
      <controllerKey>201</controllerKey><unitNumber>0</unitNumber>
    </device>
    <device xsi:type="VirtualFloppy"><key>8000</key><controllerKey>400</controllerKey><unitNumber>0</unitNumber></device>
    <device xsi:type="VirtualVmxnet3">
      <key>4000</key>
      <backing xsi:type="VirtualEthernetCardNetworkBackingInfo"><deviceName>VM Network</deviceName><network type="Network">network-7</network></backing>
      <connectable><startConnected>true</startConnected><connected>true</connected></connectable>
      <controllerKey>100</controllerKey><unitNumber>7</unitNumber>
      <addressType>assigned</addressType><macAddress>00:50:56:A0:CF:2F</macAddress>
    </device>
    <device xsi:type="VirtualE1000e">
      <key>4002</key>
      <backing xsi:type="VirtualEthernetCardDistributedVirtualPortBackingInfo"><port><switchUuid>50 20</switchUuid><portgroupKey>dvportgroup-31</portgroupKey></port></backing>
      <connectable><startConnected>false</startConnected></connectable>
      <addressType>manual</addressType><macAddress>00:50:56:00:00:02</macAddress>
    </device>
    <device xsi:type="VirtualNewerCard">
      <key>4003</key>
      <backing xsi:type="VirtualEthernetCardOpaqueNetworkBackingInfo"><opaqueNetworkId>nsx-1</opaqueNetworkId></backing>
      <macAddress>00:50:56:00:00:03</macAddress>
    </device>
    <device xsi:type="VirtualTPM"><key>11000</key></device>
    <device xsi:type="VirtualHdAudioCard"><key>5000</key></device>
  </hardware>
  <extraConfig xsi:type="OptionValue"><key>nvram</key><value xsi:type="xsd:string">web.nvram</value></extraConfig>
  <extraConfig xsi:type="OptionValue"><key>guestInfo.detailed.data</key><value xsi:type="xsd:string">architecture='X86' bitness='64' prettyName='Red Hat Enterprise Linux 9.3 (Plow)'</value></extraConfig>
  <bootOptions>
    <efiSecureBootEnabled>true</efiSecureBootEnabled>
    <bootOrder xsi:type="VirtualMachineBootOptionsBootableEthernetDevice"><deviceKey>4002</deviceKey></bootOrder>
    <bootOrder xsi:type="VirtualMachineBootOptionsBootableDiskDevice"><deviceKey>2001</deviceKey></bootOrder>
    <bootOrder xsi:type="VirtualMachineBootOptionsBootableCdromDevice"/>
    <bootOrder xsi:type="VirtualMachineBootOptionsBootableDiskDevice"><deviceKey>9999</deviceKey></bootOrder>
    <bootOrder xsi:type="VirtualMachineBootOptionsBootableDiskDevice"><deviceKey>2001</deviceKey></bootOrder>
  </bootOptions>
  <firmware>efi</firmware>
  <changeTrackingEnabled>true</changeTrackingEnabled>
  <keyId><keyId>k</keyId><providerId><id>p</id></providerId></keyId>
</val>
