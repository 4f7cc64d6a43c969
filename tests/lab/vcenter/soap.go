// SPDX-License-Identifier: GPL-2.0-or-later

// Answers in SOAP, and the one mending of the simulator's: the elements of an ArrayOf… carry their type, without which
// libvirt's ESX driver does not read them.
package main

import (
	"bytes"
	"fmt"
	"net/http"
	"reflect"

	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

const (
	envelopeStart = xml.Header + `<soapenv:Envelope xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/" ` +
		`xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" ` +
		`xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>`
	envelopeEnd = `</soapenv:Body></soapenv:Envelope>`
)

type taskAnswer struct {
	Returnval types.ManagedObjectReference `xml:"returnval"`
}

type emptyAnswer struct{}

func element(name string, value interface{}) []byte {
	var out bytes.Buffer
	encoder := xml.NewEncoder(&out)
	start := xml.StartElement{Name: xml.Name{Space: "urn:vim25", Local: name}}
	if err := encoder.EncodeElement(value, start); err != nil {
		return []byte(fmt.Sprintf("<!-- %s -->", err))
	}
	_ = encoder.Flush()
	return out.Bytes()
}

func writeAnswer(w http.ResponseWriter, name string, value interface{}) {
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	_, _ = w.Write([]byte(envelopeStart))
	_, _ = w.Write(typeArrays(element(name, value)))
	_, _ = w.Write([]byte(envelopeEnd))
}

// messages: how VMware words what people see most.
var messages = map[string]string{
	"NotAuthenticated":  "The session is not authenticated.",
	"NoPermission":      "Permission to perform this operation was denied.",
	"InvalidLogin":      "Cannot complete login due to an incorrect user name or password.",
	"TaskInProgress":    "Another task is already in progress.",
	"HostNotConnected":  "Unable to communicate with the remote host, since it is disconnected.",
	"InvalidPowerState": "The attempted operation cannot be performed in the current state.",
	"FileFault":         "Error caused by file",
	"LicenseRestricted": "The operation is not allowed by the licenses of the system.",
	"RestrictedVersion": "Current license or ESXi version prohibits execution of the requested operation.",
	"ToolsUnavailable":  "Cannot complete operation because VMware Tools is not running in this virtual machine.",
}

func faultName(fault types.BaseMethodFault) string {
	return reflect.TypeOf(fault).Elem().Name()
}

func faultError(fault types.BaseMethodFault) error {
	return fmt.Errorf("%s", faultName(fault))
}

func localized(fault types.BaseMethodFault) *types.LocalizedMethodFault {
	return &types.LocalizedMethodFault{Fault: fault, LocalizedMessage: messages[faultName(fault)]}
}

func writeFault(w http.ResponseWriter, message string, fault types.BaseMethodFault) {
	name := faultName(fault)
	if message == "" {
		message = messages[name]
	}
	var text, inner bytes.Buffer
	_ = xml.EscapeText(&text, []byte(message))
	encoder := xml.NewEncoder(&inner)
	_ = encoder.EncodeElement(fault, xml.StartElement{Name: xml.Name{Local: name + "Fault"}, Attr: []xml.Attr{
		{Name: xml.Name{Local: "xmlns"}, Value: "urn:vim25"}, {Name: xml.Name{Local: "xsi:type"}, Value: name}}})
	_ = encoder.Flush()
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.WriteHeader(http.StatusInternalServerError)
	fmt.Fprintf(w, "%s<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>%s</faultstring><detail>%s</detail>"+
		"</soapenv:Fault>%s", envelopeStart, text.String(), inner.String(), envelopeEnd)
}

var (
	typeMark  = []byte(`:type="`)
	arrayMark = []byte(`:type="ArrayOf`)
	plain     = map[string]string{"String": "xsd:string", "Int": "xsd:int", "Long": "xsd:long", "Short": "xsd:short",
		"Byte": "xsd:byte", "Boolean": "xsd:boolean", "Double": "xsd:double", "AnyType": ""}
)

// typeArrays gives the children of elements of an ArrayOf type their xsi:type. One pass over the text: Go's encoder writes
// neither comments nor empty-element tags, and no > in attributes.
func typeArrays(text []byte) []byte {
	if !bytes.Contains(text, arrayMark) {
		return text
	}
	out := make([]byte, 0, len(text)+len(text)/8)
	var stack []string // for each open element: the type that its children have, "" where they say it themselves
	for {
		begin := bytes.IndexByte(text, '<')
		if begin < 0 {
			return append(out, text...)
		}
		end := begin + bytes.IndexByte(text[begin:], '>')
		tag := text[begin:end]
		out = append(out, text[:begin]...)
		text = text[end+1:]
		switch {
		case tag[1] == '?':
			out = append(append(out, tag...), '>')
		case tag[1] == '/':
			if len(stack) > 0 {
				stack = stack[:len(stack)-1]
			}
			out = append(append(out, tag...), '>')
		default:
			out = appendTyped(out, tag, stack)
			stack = append(stack, childType(tag))
		}
	}
}

func childType(tag []byte) string {
	at := bytes.Index(tag, arrayMark)
	if at < 0 {
		return ""
	}
	name := tag[at+len(arrayMark):]
	kind := string(name[:bytes.IndexByte(name, '"')])
	if builtin, ok := plain[kind]; ok {
		return builtin
	}
	return kind
}

func appendTyped(out, tag []byte, stack []string) []byte {
	if len(stack) == 0 || stack[len(stack)-1] == "" || bytes.Contains(tag, typeMark) {
		return append(append(out, tag...), '>')
	}
	nameEnd := bytes.IndexByte(tag, ' ')
	if nameEnd < 0 {
		nameEnd = len(tag)
	}
	out = append(out, tag[:nameEnd]...)
	out = append(out, ` xsi:type="`+stack[len(stack)-1]+`"`...)
	return append(append(out, tag[nameEnd:]...), '>')
}
