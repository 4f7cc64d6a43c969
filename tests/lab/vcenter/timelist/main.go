// SPDX-License-Identifier: GPL-2.0-or-later

// Lists all machines of a vCenter with govmomi's own client: name, host, power state, guest, size, through a container
// view and one request. What vmferry's inventory is measured against. Prints a JSON line: seconds (login to the last
// property, names of hosts resolved), machines, peak memory.
//
//	usage: timelist ADDRESS:PORT USER PASSWORD-FILE [REPEAT]
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "timelist:", err)
		os.Exit(1)
	}
}

var properties = []string{"name", "runtime.host", "runtime.powerState", "summary.config.guestFullName",
	"summary.config.guestId", "summary.config.numVirtualDisks", "summary.storage.committed",
	"summary.storage.uncommitted"}

func list(ctx context.Context, address *url.URL) (int, int64, error) {
	client, err := govmomi.NewClient(ctx, address, true)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = client.Logout(ctx) }()
	manager := view.NewManager(client.Client)
	kinds := []string{"VirtualMachine", "HostSystem"}
	container, err := manager.CreateContainerView(ctx, client.ServiceContent.RootFolder, kinds, true)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = container.Destroy(ctx) }()
	var hosts []mo.HostSystem
	if err = container.Retrieve(ctx, kinds[1:], []string{"name"}, &hosts); err != nil {
		return 0, 0, err
	}
	names := map[types.ManagedObjectReference]string{}
	for i := range hosts {
		names[hosts[i].Self] = hosts[i].Name
	}
	var machines []mo.VirtualMachine
	if err = container.Retrieve(ctx, kinds[:1], properties, &machines); err != nil {
		return 0, 0, err
	}
	var bytes int64
	for i := range machines {
		if m := &machines[i]; m.Runtime.Host == nil || names[*m.Runtime.Host] == "" || m.Name == "" {
			return 0, 0, fmt.Errorf("%s has no name or host", m.Self.Value)
		}
		bytes += machines[i].Summary.Storage.Committed + machines[i].Summary.Storage.Uncommitted
	}
	return len(machines), bytes, nil
}

func main() {
	if len(os.Args) < 4 {
		fail(fmt.Errorf("usage: timelist ADDRESS:PORT USER PASSWORD-FILE [REPEAT]"))
	}
	password, err := os.ReadFile(os.Args[3])
	fail(err)
	address := &url.URL{Scheme: "https", Host: os.Args[1], Path: "/sdk",
		User: url.UserPassword(os.Args[2], strings.TrimSuffix(string(password), "\n"))}
	repeat := 1
	if len(os.Args) > 4 {
		repeat, err = strconv.Atoi(os.Args[4])
		fail(err)
	}
	for i := 0; i < repeat; i++ {
		begin := time.Now()
		count, bytes, err := list(context.Background(), address)
		fail(err)
		var usage syscall.Rusage
		fail(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
		fail(json.NewEncoder(os.Stdout).Encode(map[string]interface{}{"seconds": time.Since(begin).Seconds(),
			"machines": count, "size_bytes": bytes, "peak_rss_bytes": usage.Maxrss * 1024}))
	}
}
