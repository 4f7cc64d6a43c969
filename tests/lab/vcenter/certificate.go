// SPDX-License-Identifier: GPL-2.0-or-later

// The server's certificate: made at start, exchanged on demand while it runs.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

type identity struct {
	name        string // the only one that the certificate is for; "": localhost and its addresses
	expired     bool
	mutex       sync.Mutex
	certificate *tls.Certificate
}

func newIdentity(name string, expired bool) (*identity, error) {
	i := &identity{name: name, expired: expired}
	return i, i.renew()
}

// renew makes another key and certificate: what a client that has pinned the old one must refuse.
func (i *identity) renew() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "localhost", Organization: []string{"vmferry test lab"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if i.name != "" {
		template.Subject.CommonName, template.DNSNames, template.IPAddresses = i.name, []string{i.name}, nil
	}
	if i.expired {
		template.NotBefore, template.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	i.mutex.Lock()
	i.certificate = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	i.mutex.Unlock()
	return nil
}

func (i *identity) current() *tls.Certificate {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return i.certificate
}

// configForClient is asked at each handshake. No session tickets: a resumed session would show no certificate.
func (i *identity) configForClient(*tls.ClientHelloInfo) (*tls.Config, error) {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*i.current()},
		ClientAuth: tls.RequestClientCert, NextProtos: []string{"http/1.1"}, SessionTicketsDisabled: true}, nil
}

// thumbprint is SHA-1 of the certificate's DER, as VMware writes it.
func (i *identity) thumbprint() string {
	sum := sha1.Sum(i.current().Certificate[0])
	words := make([]string, len(sum))
	for n, b := range sum {
		words[n] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(words, ":")
}

// write puts the certificate into a file as PEM, for clients that take a CA file.
func (i *identity) write(path string) error {
	block := &pem.Block{Type: "CERTIFICATE", Bytes: i.current().Certificate[0]}
	return os.WriteFile(path, pem.EncodeToMemory(block), 0644)
}
