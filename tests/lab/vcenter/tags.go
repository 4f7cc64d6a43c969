// SPDX-License-Identifier: GPL-2.0-or-later

// Tags of machines, in govmomi's simulator of vCenter's REST interface (/rest/com/vmware/cis/tagging): it takes them from
// its own client only, once the server runs. That interface takes any user and password.
package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/vmware/govmomi/vapi/rest"
	_ "github.com/vmware/govmomi/vapi/simulator" // registers the interface
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
)

type tagger struct {
	manager    *tags.Manager
	categories map[string]string // ids by name
	tags       map[string]string // ids by "category/tag"
}

// tagMachines gives each machine its "category/tag"s.
func tagMachines(server *url.URL, machines []*machine) error {
	ctx := context.Background()
	t := &tagger{categories: map[string]string{}, tags: map[string]string{}}
	for _, m := range machines {
		for _, name := range m.Tags {
			if t.manager == nil {
				client, err := vim25.NewClient(ctx, soap.NewClient(server, true))
				if err != nil {
					return err
				}
				session := rest.NewClient(client)
				if err = session.Login(ctx, server.User); err != nil {
					return err
				}
				t.manager = tags.NewManager(session)
			}
			id, err := t.tag(ctx, name)
			if err != nil {
				return fmt.Errorf("tag %q: %w", name, err)
			}
			if err = t.manager.AttachTag(ctx, id, m.vm.Self); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tagger) tag(ctx context.Context, name string) (string, error) {
	if id := t.tags[name]; id != "" {
		return id, nil
	}
	words := strings.SplitN(name, "/", 2)
	if len(words) != 2 {
		return "", fmt.Errorf("it is not category/tag")
	}
	if t.categories[words[0]] == "" {
		id, err := t.manager.CreateCategory(ctx, &tags.Category{Name: words[0], Cardinality: "MULTIPLE",
			AssociableTypes: []string{"VirtualMachine"}})
		if err != nil {
			return "", err
		}
		t.categories[words[0]] = id
	}
	id, err := t.manager.CreateTag(ctx, &tags.Tag{Name: words[1], CategoryID: t.categories[words[0]]})
	t.tags[name] = id
	return id, err
}
