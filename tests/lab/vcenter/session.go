// SPDX-License-Identifier: GPL-2.0-or-later

// Sessions: the simulator makes them at Login; here they end by command or idleness, and a second user may only read.
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

type session struct {
	key, user string
	limited   bool
	login     time.Time
	active    time.Time
}

// findSession: of the request's cookie, quoted or not; nil where there is none or it has ended.
func (l *layer) findSession(r *http.Request) *session {
	cookie, err := r.Cookie(soap.SessionCookieName)
	if err != nil {
		return nil
	}
	l.mutex.Lock()
	s := l.sessions[strings.Trim(cookie.Value, `"`)]
	expired := s != nil && l.o.idleTimeout > 0 && time.Since(s.active) > l.o.idleTimeout
	if s != nil && !expired {
		s.active = time.Now()
	}
	l.mutex.Unlock()
	if expired {
		l.expire(s.key, true)
		return nil
	}
	return s
}

// expire ends the session KEY ("": all), and with it its leases if LEASES.
func (l *layer) expire(key string, leases bool) int {
	ended := map[string]bool{}
	l.mutex.Lock()
	for k := range l.sessions {
		if key == "" || k == key {
			ended[k] = true
			delete(l.sessions, k)
		}
	}
	var orphans []*Lease
	for _, lease := range l.leases {
		if leases && ended[lease.session] {
			orphans = append(orphans, lease)
		}
	}
	l.mutex.Unlock()
	manager := simulator.Map.SessionManager()
	own := &simulator.Context{Context: context.Background(), Map: simulator.Map,
		Session: &simulator.Session{UserSession: types.UserSession{Key: "layer"}}}
	for k := range ended {
		manager.TerminateSession(own, &types.TerminateSession{SessionId: []string{k}})
	}
	for _, lease := range orphans {
		lease.end(&types.NotAuthenticated{})
	}
	return len(ended)
}

// admit: may this session make this call? A real server answers nothing of the inventory without one; the simulator says
// per property that it is missing.
func (l *layer) admit(c *call) types.BaseMethodFault {
	switch c.Name {
	case "RetrieveServiceContent", "Login", "LoginByToken", "LoginExtensionByCertificate", "CloneSession":
		return nil
	case "RetrieveProperties", "RetrievePropertiesEx":
		if c.session == nil && onlyServiceObjects(c.Body) {
			return nil
		}
	}
	if c.session == nil {
		return &types.NotAuthenticated{NoPermission: types.NoPermission{Object: c.This, PrivilegeId: "System.View"}}
	}
	if c.Name == "Logout" {
		l.mutex.Lock()
		delete(l.sessions, c.session.key)
		l.mutex.Unlock()
	}
	if privilege := privileges[c.Name]; c.session.limited && privilege != "" {
		return &types.NoPermission{Object: c.This, PrivilegeId: privilege}
	}
	return nil
}

// privileges that a reader lacks, by the API reference's "Required Privileges".
var privileges = map[string]string{
	"CreateSnapshot_Task":     "VirtualMachine.State.CreateSnapshot",
	"RemoveSnapshot_Task":     "VirtualMachine.State.RemoveSnapshot",
	"RemoveAllSnapshots_Task": "VirtualMachine.State.RemoveSnapshot",
	"ConsolidateVMDisks_Task": "VirtualMachine.State.RemoveSnapshot",
	"ReconfigVM_Task":         "VirtualMachine.Config.ChangeTracking",
	"QueryChangedDiskAreas":   "VirtualMachine.Provisioning.DiskRandomRead",
	"ExportVm":                "VApp.Export",
	"ExportSnapshot":          "VApp.Export",
	"PowerOnVM_Task":          "VirtualMachine.Interact.PowerOn",
	"PowerOffVM_Task":         "VirtualMachine.Interact.PowerOff",
	"ShutdownGuest":           "VirtualMachine.Interact.PowerOff",
	"SuspendVM_Task":          "VirtualMachine.Interact.Suspend",
	"Destroy_Task":            "VirtualMachine.Inventory.Delete",
}

func onlyServiceObjects(body interface{}) bool {
	var specs []types.PropertyFilterSpec
	switch b := body.(type) {
	case *types.RetrieveProperties:
		specs = b.SpecSet
	case *types.RetrievePropertiesEx:
		specs = b.SpecSet
	}
	for _, spec := range specs {
		for _, object := range spec.ObjectSet {
			if object.Obj.Type != "ServiceInstance" && object.Obj.Type != "SessionManager" {
				return false
			}
		}
	}
	return true
}

// asMainUser: the simulator knows one user; the limited one logs in as that, with the same password.
func (l *layer) asMainUser(c *call) []byte {
	login := c.Body.(*types.Login)
	if login.UserName != l.o.limitedUser || login.Password != l.password {
		return c.text
	}
	return loginText(c.This, l.o.user, login.Password, login.Locale)
}

func loginText(this types.ManagedObjectReference, user, password, locale string) []byte {
	body := element("Login", &types.LoginRequestType{This: this, UserName: user, Password: password, Locale: locale})
	return append(append([]byte(envelopeStart), body...), envelopeEnd...)
}

// loggedIn takes note of a session; its cookie goes out quoted, as vCenter's does.
func (l *layer) loggedIn(c *call, recorder *httptest.ResponseRecorder) {
	for _, cookie := range recorder.Result().Cookies() {
		if cookie.Name != soap.SessionCookieName {
			continue
		}
		user := c.Body.(*types.Login).UserName
		now := time.Now()
		l.mutex.Lock()
		l.sessions[cookie.Value] = &session{key: cookie.Value, user: user, limited: user == l.o.limitedUser, login: now,
			active: now}
		l.mutex.Unlock()
		recorder.Header().Set("Set-Cookie", quotedCookie(cookie.Value))
	}
}

func quotedCookie(value string) string {
	return fmt.Sprintf("%s=\"%s\"; Path=/; HttpOnly; Secure; ", soap.SessionCookieName, value)
}
