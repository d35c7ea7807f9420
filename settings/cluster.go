package settings

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

func (c *checker) checkCluster(s *Settings) {
	if !s.Cluster.Enabled {
		c.warnStandalone(s)
	}
	cl := &s.Cluster
	c.checkListen("CLUSTER_BIND_ADDR", cl.BindAddr)
	c.checkAdvertise(cl)
	c.checkDiscovery(cl)
	c.checkExpect(cl)
	c.checkAllOrNone(map[string]string{"CLUSTER_TLS_CA": cl.TLSCA, "CLUSTER_TLS_CERT": cl.TLSCert, "CLUSTER_TLS_KEY": cl.TLSKey},
		"CLUSTER_TLS_CA", "CLUSTER_TLS_CERT", "CLUSTER_TLS_KEY")
	c.checkToken("CLUSTER_TOKEN", cl.Token)
	if info, err := os.Stat(cl.DataDir); cl.DataDir != "" && err == nil {
		c.refuseUnless(info.IsDir(), "CLUSTER_DATA_DIR", "want a directory, or a path where one can be made")
	}
	c.refuseUnless(cl.Weight > 0 || c.bad["CLUSTER_WEIGHT"], "CLUSTER_WEIGHT", "want a number greater than 0")
	c.refuseUnless(nodeName(cl.ServiceName), "CONSUL_SERVICE_NAME", "want a name without blanks, / and \\")
	if cl.Enabled {
		c.checkAdvertiseExposure(cl)
	}
}

// warnStandalone names cluster variables that nothing will use.
func (c *checker) warnStandalone(s *Settings) {
	var idle []string
	for _, v := range variablesOf(&s.Cluster) {
		if v.isSet() && v.name != "CLUSTER_ENABLED" {
			idle = append(idle, v.name)
		}
	}
	for _, name := range []string{"CLUSTER_CONFIG_SOURCE", "CLUSTER_CONFIG_WATCH", "GCS_CONFIG_BUCKET", "GCS_CONFIG_OBJECT", "CONSUL_CONFIG_KEY"} {
		if s.IsSet(name) {
			idle = append(idle, name)
		}
	}
	if len(idle) > 0 {
		c.warn("without CLUSTER_ENABLED=true these have no effect: %s", strings.Join(idle, ", "))
	}
}

func (c *checker) checkAdvertise(cl *Cluster) {
	if cl.AdvertiseAddr != "" && cl.SelfAddr != "" && cl.AdvertiseAddr != cl.SelfAddr {
		c.refuse("CLUSTER_SELF_ADDR", "contradicts CLUSTER_ADVERTISE_ADDR=%q, of which it is an alias: set one of them", cl.AdvertiseAddr)
		return
	}
	name := "CLUSTER_ADVERTISE_ADDR"
	if cl.AdvertiseAddr == "" && cl.SelfAddr != "" {
		name, cl.AdvertiseAddr = "CLUSTER_SELF_ADDR", cl.SelfAddr
	}
	c.refuseUnless(cl.AdvertiseAddr == "" || isDial(cl.AdvertiseAddr), name, "want host:port as other nodes dial it, not 0.0.0.0")
}

func (c *checker) checkDiscovery(cl *Cluster) {
	c.checkCredentialed("GCE_ENDPOINT", cl.GCEEndpoint, "https://host/compute/v1/")
	c.refuseUnless(cl.GCELabel == "" || isLabel(cl.GCELabel), "GCE_LABEL", "want key=value of a label")
	if cl.Discovery != "gce" && cl.Enabled {
		c.warnUnused(map[string]string{"GCE_LABEL": cl.GCELabel, "GCE_ENDPOINT": cl.GCEEndpoint}, cl.Discovery)
	}
	switch {
	case !cl.Enabled:
	case cl.Discovery == "dns":
		c.refuseUnless(len(cl.Nodes) == 1 && isName(cl.Nodes[0]), "CLUSTER_NODES",
			"DISCOVERY_MODE=dns needs one name: want name:port (A and AAAA records), or a name without a port (SRV records)")
		return
	case cl.Discovery != "static":
		c.warnUnused(map[string]string{"CLUSTER_NODES": strings.Join(cl.Nodes, ",")}, cl.Discovery)
	}
	for _, addr := range cl.Nodes {
		c.refuseUnless(isDial(addr), "CLUSTER_NODES", "%q is not host:port: want host:port,...", addr)
	}
	slices.Sort(cl.Nodes)
	cl.Nodes = slices.Compact(cl.Nodes)
}

// warnUnused names what another way to find nodes would use.
func (c *checker) warnUnused(values map[string]string, discovery string) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if values[name] != "" {
			c.warn("%s has no effect with DISCOVERY_MODE=%s", name, discovery)
		}
	}
}

// isName accepts name:port, and a name alone.
func isName(name string) bool {
	return isDial(name) || name != "" && !strings.ContainsAny(name, " \t/:")
}

// isLabel accepts key=value as Google Cloud's labels are written.
func isLabel(label string) bool {
	key, value, ok := strings.Cut(label, "=")
	plain := func(r rune) bool {
		return r == '-' || r == '_' || unicode.IsLower(r) || unicode.IsDigit(r) || unicode.In(r, unicode.Lo)
	}
	other := func(r rune) bool { return !plain(r) }
	return ok && key != "" && !strings.ContainsFunc(key+value, other)
}

// checkExpect resolves CLUSTER_MIN_PEERS and checks what is known of the
// number of nodes before this node knows its own address.
func (c *checker) checkExpect(cl *Cluster) {
	if cl.MinPeers != nil {
		if cl.Expect != 0 && cl.Expect != *cl.MinPeers+1 {
			c.refuse("CLUSTER_MIN_PEERS", "contradicts CLUSTER_EXPECT=%d: want CLUSTER_EXPECT = CLUSTER_MIN_PEERS + 1, or one of them", cl.Expect)
			return
		}
		cl.Expect = *cl.MinPeers + 1
	}
	known := cl.Enabled && !c.bad["CLUSTER_EXPECT"] && !c.bad["CLUSTER_MIN_PEERS"]
	switch {
	case !known:
	case cl.Discovery == "static" && cl.Expect != 0:
		c.checkStaticExpect(cl)
	case cl.Discovery != "static" && cl.Expect == 0:
		c.refuse("CLUSTER_EXPECT", "not set: DISCOVERY_MODE=%s needs it: want the number of nodes, this one included", cl.Discovery)
	}
}

func (c *checker) checkStaticExpect(cl *Cluster) {
	if err := CheckExpect(leastNodes(cl), cl.Expect); err != nil {
		c.refuse("CLUSTER_EXPECT", "%v", err)
	}
	if cl.Expect > len(cl.Nodes)+1 {
		c.warn("CLUSTER_EXPECT=%d, but CLUSTER_NODES lists %d: others have to find this node", cl.Expect, len(cl.Nodes))
	}
}

// leastNodes is how many nodes there are at least: those listed, and this one
// if it is known not to be among them.
func leastNodes(cl *Cluster) int {
	if cl.AdvertiseAddr != "" && !slices.Contains(cl.Nodes, cl.AdvertiseAddr) {
		return len(cl.Nodes) + 1
	}
	return max(len(cl.Nodes), 1)
}

// CheckExpect says whether expect nodes may form a cluster when nodes nodes
// are listed, self included. Too small a number would let nodes that restarted
// blank form a second cluster beside a live one: of that one a quorum of the
// v voters it began with is left, so nodes - quorum(v) nodes can be blank, and
// expect has to be more than that.
func CheckExpect(nodes, expect int) error {
	if expect > nodes-quorum(expect) {
		return nil
	}
	least := expect
	for least <= nodes-quorum(least) {
		least++
	}
	return fmt.Errorf("%d of %d nodes are too few: two clusters could form beside each other; want at least %d", expect, nodes, least)
}

// maxVoters is the greatest number of members of a cluster that vote.
const maxVoters = 5

// quorum is that of a cluster formed by n nodes, of which an odd number, at
// most maxVoters, vote.
func quorum(n int) int {
	voters := min(n, maxVoters)
	if voters%2 == 0 {
		voters--
	}
	return voters/2 + 1
}

func (c *checker) checkAdvertiseExposure(cl *Cluster) {
	name, addr := "CLUSTER_ADVERTISE_ADDR", cl.AdvertiseAddr
	if addr == "" {
		name, addr = "CLUSTER_BIND_ADDR", cl.BindAddr
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return // has been refused already
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.IsUnspecified() {
		return // the address is found out at run time, and checked then
	}
	if _, err := cl.CheckExposure(ip); err != nil {
		c.refuse(name, "%v", err) // the warning is for the address that is used in the end
	}
}

// CheckExposure says whether the cluster port may be reached at ip: without
// CLUSTER_TOKEN and TLS a public address is refused unless CLUSTER_INSECURE is
// set, and any other warns.
func (cl Cluster) CheckExposure(ip netip.Addr) (warning string, err error) {
	switch {
	case cl.Token.IsSet() || cl.TLSCA != "":
		return "", nil
	case private(ip):
		return fmt.Sprintf("the cluster port at %s is open to everyone who reaches it: set CLUSTER_TOKEN or CLUSTER_TLS_CA, _CERT, _KEY", ip), nil
	case cl.Insecure:
		return fmt.Sprintf("CLUSTER_INSECURE: the cluster port at the public address %s is open to everyone", ip), nil
	}
	return "", fmt.Errorf("%s is a public address: want CLUSTER_TOKEN, CLUSTER_TLS_CA, _CERT, _KEY, or CLUSTER_INSECURE=true", ip)
}

// CheckUnresolved is CheckExposure of a host whose address is not known: it may
// be a public one.
func (cl Cluster) CheckUnresolved(host string) (warning string, err error) {
	switch {
	case cl.Token.IsSet() || cl.TLSCA != "":
		return "", nil
	case cl.Insecure:
		return fmt.Sprintf("CLUSTER_INSECURE: the cluster port at %s, a name that does not resolve, is open to everyone", host), nil
	}
	return "", fmt.Errorf("CLUSTER_ADVERTISE_ADDR %q: the name does not resolve, so it may be a public address: "+
		"want CLUSTER_TOKEN, CLUSTER_TLS_CA, _CERT, _KEY, CLUSTER_INSECURE=true, or a name that resolves", host)
}

// private reports whether ip cannot be reached from the public Internet.
func private(ip netip.Addr) bool {
	ip = ip.Unmap()
	shared := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10) // carriers' and overlay networks
	return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || shared.Contains(ip)
}

func (c *checker) checkListen(name, addr string) {
	c.refuseUnless(isListen(addr), name, "want host:port with a port from 0 to 65535")
}

// isListen accepts what can be listened on: the host may be left out.
func isListen(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || strings.ContainsAny(host, " \t") {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// isDial accepts what others can dial.
func isDial(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || strings.ContainsAny(host, " \t/") {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	ip, notIP := netip.ParseAddr(host)
	return err == nil && n > 0 && (notIP != nil || !ip.IsUnspecified())
}
