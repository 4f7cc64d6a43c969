// SPDX-License-Identifier: GPL-2.0-or-later

// A vCenter or an ESXi host for tests: govmomi's simulator with machines that have real disks, and a layer of ours for
// what it lacks (README.md draws the line). Prints one JSON line when it listens. Ends when its standard input closes, or
// with the process that started it.
package main

import (
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vmware/govmomi/simulator"
)

type options struct {
	model, listen, machines, state  string
	user, password, limitedUser     string
	certificateName                 string
	certificateExpired              bool
	streamFormat                    string
	vms, datastores, clusters       int
	stock                           bool
	pageSize, maxAreas              int
	idleTimeout, leaseTimeout       time.Duration
	taskTime, shutdownTime, leaseUp time.Duration
	cancelable                      bool // set by the control port
}

func parseOptions() *options {
	o := &options{}
	flag.StringVar(&o.model, "model", "vpx", "vpx (a vCenter) or esx (a standalone host)")
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "where to listen")
	flag.StringVar(&o.machines, "json", "", "file that describes machines to create")
	flag.StringVar(&o.state, "state", "", "directory for datastores; default: a temporary one, removed at the end")
	flag.StringVar(&o.user, "user", "user", "who may do everything")
	flag.StringVar(&o.password, "password-file", "", "file with the users' password, on one line; default: \"pass\"")
	flag.StringVar(&o.limitedUser, "limited-user", "reader", "who may read and change nothing")
	flag.StringVar(&o.certificateName, "certificate-name", "", "the only name that the certificate is for")
	flag.BoolVar(&o.certificateExpired, "certificate-expired", false, "it was valid until yesterday")
	flag.IntVar(&o.vms, "vms", 0, "how many stock machines, as govmomi makes them (1 MiB of disk that is not there)")
	flag.IntVar(&o.datastores, "datastores", 1, "how many datastores: LocalDS_0, ...")
	flag.IntVar(&o.clusters, "clusters", 1, "how many clusters of three hosts (vpx)")
	flag.BoolVar(&o.stock, "stock", false, "govmomi's simulator alone, without the layer")
	flag.IntVar(&o.pageSize, "page-size", 0, "objects in a page at most, whatever is asked; 0: as asked")
	flag.IntVar(&o.maxAreas, "max-areas", 2000, "changed areas in one answer at most")
	flag.DurationVar(&o.idleTimeout, "idle-timeout", 30*time.Minute, "a session ends after this much silence")
	flag.DurationVar(&o.leaseTimeout, "lease-timeout", 5*time.Minute, "an export lease ends after this without progress")
	flag.DurationVar(&o.taskTime, "task-time", 50*time.Millisecond, "how long snapshot tasks take")
	flag.DurationVar(&o.shutdownTime, "shutdown-time", 500*time.Millisecond, "how long a guest takes to shut down")
	flag.DurationVar(&o.leaseUp, "lease-init-time", 50*time.Millisecond, "how long a lease initializes")
	flag.StringVar(&o.streamFormat, "stream-format", "esxi", "of leases' disks: esxi (tables at the end) or qemu")
	flag.Parse()
	return o
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "vcenter:", err)
		os.Exit(1)
	}
}

// dieWithParent: the kernel kills us when the thread that started us ends.
func dieWithParent() {
	const prSetPdeathsig = 1
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetPdeathsig, uintptr(syscall.SIGTERM), 0)
}

// stateDirectory makes the directory that everything lies in; the second value tells whether it is ours to remove.
func stateDirectory(path string) (string, bool, error) {
	if path != "" {
		path, err := filepath.Abs(path)
		if err != nil {
			return "", false, err
		}
		return path, false, os.MkdirAll(path, 0700)
	}
	parent := os.Getenv("VMFERRY_LAB_TMP")
	if parent == "" {
		parent = "/var/tmp"
	}
	path, err := os.MkdirTemp(parent, "vmferry-vcenter.")
	return path, true, err
}

func newModel(o *options) (*simulator.Model, error) {
	var model *simulator.Model
	switch o.model {
	case "vpx":
		model = simulator.VPX()
		model.Cluster = o.clusters
		model.Machine = o.vms / (1 + o.clusters)
	case "esx":
		model = simulator.ESX()
		model.Machine = o.vms
	default:
		return nil, fmt.Errorf("no model %q: vpx or esx", o.model)
	}
	model.Datastore = o.datastores
	return model, model.Create()
}

// endWithInput returns when standard input closes or a signal asks for the end.
func endWithInput() {
	end := make(chan os.Signal, 2)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		end <- syscall.SIGTERM
	}()
	<-end
}

func serve(o *options, state string) (*simulator.Model, error) {
	logFile, err := os.Create(filepath.Join(state, "log"))
	if err != nil {
		return nil, err
	}
	log.SetOutput(logFile)
	if err = os.Setenv("TMPDIR", state); err != nil { // where the simulator puts its datastores
		return nil, err
	}
	password := "pass"
	if o.password != "" {
		text, err := os.ReadFile(o.password)
		if err != nil {
			return nil, err
		}
		password = strings.TrimSuffix(string(text), "\n")
	}
	model, err := newModel(o)
	if err != nil {
		return model, err
	}
	machines, err := createMachines(o, model)
	if err != nil {
		return model, err
	}
	identity, err := newIdentity(o.certificateName, o.certificateExpired)
	if err != nil {
		return model, err
	}
	model.Service.Listen = &url.URL{Host: o.listen, User: url.UserPassword(o.user, password)}
	model.Service.RegisterEndpoints = true
	model.Service.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: identity.configForClient,
		Certificates: []tls.Certificate{*identity.current()}}
	var l *layer
	if !o.stock {
		if l, err = newLayer(o, state, password, identity, machines); err != nil {
			return model, err
		}
	}
	return model, announce(o, state, model, identity, machines, l)
}

func announce(o *options, state string, model *simulator.Model, identity *identity, machines []*machine,
	l *layer) error {
	server := model.Service.NewServer()
	address := server.Listener.Addr().(*net.TCPAddr)
	certificate := filepath.Join(state, "certificate.pem")
	if err := identity.write(certificate); err != nil {
		return err
	}
	answer := map[string]interface{}{
		"address": address.IP.String(), "port": address.Port, "model": o.model, "user": o.user,
		"limited_user": o.limitedUser, "thumbprint": identity.thumbprint(), "certificate": certificate,
		"state": state, "datastores": datastores(), "machines": morefs(machines), "log": filepath.Join(state, "log"),
	}
	if l != nil {
		l.address, l.inner, server.Config.Handler = address.String(), server.Config.Handler, l
		l.service = model.Service
		port, err := l.serveControl()
		if err != nil {
			return err
		}
		answer["control"], answer["map"] = port, filepath.Join(state, "datastore-map.json")
	}
	if err := tagMachines(server.URL, machines); err != nil {
		return err
	}
	line, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	endWithInput()
	return nil
}

func main() {
	dieWithParent()
	o := parseOptions()
	state, ours, err := stateDirectory(o.state)
	fail(err)
	model, err := serve(o, state)
	if model != nil {
		model.Remove()
	}
	if ours {
		_ = os.RemoveAll(state)
	}
	fail(err)
}
