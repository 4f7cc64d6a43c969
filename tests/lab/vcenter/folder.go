// SPDX-License-Identifier: GPL-2.0-or-later

// /folder: the simulator serves the files (with ranges); here are authentication, the locks of running machines, and what
// a test does to the transfer.
package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

func (l *layer) folder(w http.ResponseWriter, r *http.Request) {
	s := l.findSession(r)
	if s == nil {
		if s = l.basicLogin(w, r); s == nil {
			w.Header().Set("WWW-Authenticate", `Basic realm="VMware HTTP server"`)
			http.Error(w, "401 Unauthorized", http.StatusUnauthorized)
			return
		}
	}
	name := fmt.Sprintf("[%s] %s", r.URL.Query().Get("dsName"), strings.TrimPrefix(r.URL.Path, "/folder/"))
	if order := l.obey("folder"); order != nil && order.fault != nil {
		http.Error(w, "500 Internal Server Error", http.StatusInternalServerError)
		return
	}
	if s.limited {
		http.Error(w, "403 Forbidden", http.StatusForbidden)
		return
	}
	if l.store.locked(name) {
		http.Error(w, "500 Internal Server Error", http.StatusInternalServerError)
		return
	}
	l.inner.ServeHTTP(l.meter(w, r, "folder", name), r)
}

// basicLogin makes a session of a user and password, as hosts do, and sends its cookie.
func (l *layer) basicLogin(w http.ResponseWriter, r *http.Request) *session {
	user, password, ok := r.BasicAuth()
	if !ok || password != l.password || (user != l.o.user && user != l.o.limitedUser) {
		return nil
	}
	manager := simulator.Map.SessionManager().Self
	recorder := httptest.NewRecorder()
	text := loginText(manager, l.o.user, password, "")
	l.inner.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/sdk", strings.NewReader(string(text))))
	l.loggedIn(&call{Method: &simulator.Method{Body: &types.Login{UserName: user}}}, recorder)
	cookie := recorder.Header().Get("Set-Cookie")
	if recorder.Code != http.StatusOK || cookie == "" {
		return nil
	}
	w.Header().Set("Set-Cookie", cookie)
	key := strings.SplitN(strings.SplitN(cookie, `"`, 3)[1], `"`, 2)[0]
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.sessions[key]
}

// locked: NAME is a file that a running machine writes to.
func (s *store) locked(name string) bool {
	s.editing.Lock()
	defer s.editing.Unlock()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for moref, c := range s.chains {
		ref := types.ManagedObjectReference{Type: "VirtualMachine", Value: moref}
		vm, ok := simulator.Map.Get(ref).(*simulator.VirtualMachine)
		if !ok || vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOff {
			continue
		}
		for _, d := range c.disks {
			base := strings.TrimSuffix(d.running().name, ".vmdk")
			if name == base+"-flat.vmdk" || name == base+"-delta.vmdk" {
				return true
			}
		}
	}
	return false
}

// ---- transfers, as a test wants them ----

type transfer struct {
	where     string // folder, lease
	dropAfter int64  // bytes; the connection is closed then
	left      int    // how many connections; -1: all
	rate      int64  // bytes a second; 0: as fast as it goes
}

type meteredWriter struct {
	http.ResponseWriter
	l       *layer
	key     string
	left    int64 // bytes until the connection is dropped; -1: never
	rate    int64
	written int64
	begin   time.Time
}

func (l *layer) meter(w http.ResponseWriter, r *http.Request, where, name string) http.ResponseWriter {
	m := &meteredWriter{ResponseWriter: w, l: l, key: where + ":" + name, left: -1, begin: time.Now()}
	if r.Method == http.MethodHead {
		return m
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for _, t := range l.transfers {
		if t.where != where {
			continue
		}
		if t.rate > 0 {
			m.rate = t.rate
		}
		if t.dropAfter >= 0 && t.left != 0 && m.left < 0 {
			m.left = t.dropAfter
			if t.left > 0 {
				t.left--
			}
		}
	}
	return m
}

func (m *meteredWriter) Write(p []byte) (int, error) {
	drop := m.left >= 0 && int64(len(p)) > m.left
	if drop {
		p = p[:m.left]
	}
	n, err := m.ResponseWriter.Write(p)
	m.written += int64(n)
	m.l.mutex.Lock()
	m.l.served[m.key] += int64(n)
	m.l.mutex.Unlock()
	if m.left >= 0 {
		m.left -= int64(n)
	}
	if drop {
		if f, ok := m.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		m.l.mutex.Lock()
		m.l.calls["cut:"+strings.SplitN(m.key, ":", 2)[0]]++
		m.l.mutex.Unlock()
		panic(http.ErrAbortHandler) // closes the connection
	}
	if m.rate > 0 {
		due := time.Duration(float64(m.written) / float64(m.rate) * float64(time.Second))
		time.Sleep(due - time.Since(m.begin))
	}
	return n, err
}
