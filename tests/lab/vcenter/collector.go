// SPDX-License-Identifier: GPL-2.0-or-later

// The simulator's property collector, with pages: maxObjects, ContinueRetrievePropertiesEx, CancelRetrievePropertiesEx.
package main

import (
	"fmt"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Collector: each session has its own, made by the simulator (so a zeroed one must do).
type Collector struct {
	simulator.PropertyCollector

	pages struct {
		sync.Mutex
		next int
		rest map[string]*page
	}
}

type page struct {
	objects []types.ObjectContent
	max     int
}

var pageLimit int // of all collectors; 0: as the client asks

func installCollector(limit int) {
	pageLimit = limit
	content := simulator.Map.Get(types.ManagedObjectReference{Type: "ServiceInstance", Value: "ServiceInstance"})
	ref := content.(*simulator.ServiceInstance).Content.PropertyCollector
	collector := &Collector{}
	collector.Self = ref
	simulator.Map.Put(collector)
}

func (c *Collector) RetrievePropertiesEx(ctx *simulator.Context, r *types.RetrievePropertiesEx) soap.HasFault {
	answer := c.PropertyCollector.RetrievePropertiesEx(ctx, r)
	body, ok := answer.(*methods.RetrievePropertiesExBody)
	if !ok || body.Res == nil || body.Res.Returnval == nil {
		return answer
	}
	max := int(r.Options.MaxObjects)
	if pageLimit > 0 && (max <= 0 || max > pageLimit) {
		max = pageLimit
	}
	if max > 0 {
		body.Res.Returnval = c.cut(&page{objects: body.Res.Returnval.Objects, max: max})
	}
	return answer
}

// cut takes the first page; the rest gets a token.
func (c *Collector) cut(p *page) *types.RetrieveResult {
	if len(p.objects) <= p.max {
		return &types.RetrieveResult{Objects: p.objects}
	}
	c.pages.Lock()
	defer c.pages.Unlock()
	if c.pages.rest == nil {
		c.pages.rest = map[string]*page{}
	}
	token := fmt.Sprint(c.pages.next)
	c.pages.next++
	c.pages.rest[token] = &page{objects: p.objects[p.max:], max: p.max}
	return &types.RetrieveResult{Token: token, Objects: p.objects[:p.max]}
}

func (c *Collector) take(token string) *page {
	c.pages.Lock()
	defer c.pages.Unlock()
	p := c.pages.rest[token]
	delete(c.pages.rest, token)
	return p
}

func (c *Collector) ContinueRetrievePropertiesEx(r *types.ContinueRetrievePropertiesEx) soap.HasFault {
	p := c.take(r.Token)
	if p == nil {
		return &methods.ContinueRetrievePropertiesExBody{
			Fault_: simulator.Fault("", &types.InvalidArgument{InvalidProperty: "token"})}
	}
	return &methods.ContinueRetrievePropertiesExBody{
		Res: &types.ContinueRetrievePropertiesExResponse{Returnval: *c.cut(p)}}
}

func (c *Collector) CancelRetrievePropertiesEx(r *types.CancelRetrievePropertiesEx) soap.HasFault {
	if c.take(r.Token) == nil {
		return &methods.CancelRetrievePropertiesExBody{
			Fault_: simulator.Fault("", &types.InvalidArgument{InvalidProperty: "token"})}
	}
	return &methods.CancelRetrievePropertiesExBody{Res: new(types.CancelRetrievePropertiesExResponse)}
}
