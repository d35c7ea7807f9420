package sources

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
)

// jsonAPI is the path of the storage JSON API below its host.
const jsonAPI = "storage/v1/"

// CheckEndpoint refuses a GCS_ENDPOINT that is no URL of a JSON API, or that
// would show the access token to a public network: plain http is accepted only
// for "localhost", loopback and private addresses, and for host names, whose
// address is checked again by every connection that is made.
func CheckEndpoint(endpoint string) error {
	_, err := parseEndpoint(endpoint)
	return err
}

func parseEndpoint(endpoint string) (*url.URL, error) {
	const want = "want a URL such as https://host/storage/v1/"
	base, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("GCS_ENDPOINT %q is no URL (%s): %w", endpoint, want, err)
	}
	switch {
	case base.Scheme != "http" && base.Scheme != "https", base.Hostname() == "":
		return nil, fmt.Errorf("GCS_ENDPOINT %q has no scheme http or https, or no host: %s", base.Redacted(), want)
	case base.User != nil, base.RawQuery != "", base.Fragment != "":
		return nil, fmt.Errorf("GCS_ENDPOINT %q has a user, a query or a fragment: %s", base.Redacted(), want)
	}
	if addr, err := netip.ParseAddr(base.Hostname()); err == nil && base.Scheme == "http" && !internal(addr) {
		return nil, fmt.Errorf("GCS_ENDPOINT %q would send the access token in the clear to the public address %s: "+
			"use https, or plain http to a loopback or private address", base.Redacted(), addr)
	}
	if base.Path = strings.TrimRight(base.Path, "/") + "/"; base.Path == "/" {
		base.Path += jsonAPI
	}
	return base, nil
}

// parseEmulator reads STORAGE_EMULATOR_HOST, host:port with or without a scheme.
func parseEmulator(host string) (*url.URL, error) {
	if !strings.Contains(host, "://") {
		host = "http://" + host
	}
	base, err := url.Parse(host)
	if err != nil || base.Hostname() == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("STORAGE_EMULATOR_HOST %q is not understood, want host:port or http://host:port", host)
	}
	base.Path = "/" + jsonAPI
	return base, nil
}

// internal reports whether an address belongs to this machine or a private network.
func internal(addr netip.Addr) bool {
	addr = addr.Unmap()
	return addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast()
}

// onlyInternal is a net.Dialer's Control that lets no connection be made to a
// public address: where the name led at the moment of the connection counts.
func onlyInternal(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return err
	}
	if !internal(addr) {
		return &publicAddressError{addr}
	}
	return nil
}

// publicAddressError says that a name led plain http to a public address.
type publicAddressError struct{ addr netip.Addr }

func (e *publicAddressError) Error() string {
	return fmt.Sprintf("GCS_ENDPOINT leads to the public address %s: use https, or plain http to a loopback or private address", e.addr)
}
