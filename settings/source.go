package settings

import (
	"net/netip"
	"net/url"
	"strings"
)

const defaultConsul = "http://127.0.0.1:8500"

func (c *checker) checkSource(s *Settings) {
	c.checkGCSEndpoint(s.Source.GCSEndpoint)
	if !s.Cluster.Enabled || c.bad["CLUSTER_CONFIG_SOURCE"] {
		return
	}
	switch s.Source.Kind {
	case "":
		c.refuse("CLUSTER_CONFIG_SOURCE", "not set, and a cluster needs it: want gcs, consul-kv, file or none")
	case "gcs":
		c.refuseUnless(s.Source.GCSBucket != "", "GCS_CONFIG_BUCKET", "not set, and CLUSTER_CONFIG_SOURCE=gcs needs it: want a bucket's name")
		c.refuseUnless(s.Source.GCSObject != "", "GCS_CONFIG_OBJECT", "not set, and CLUSTER_CONFIG_SOURCE=gcs needs it: want an object's name")
		c.refuseUnless(!strings.Contains(s.Source.GCSBucket, "/"), "GCS_CONFIG_BUCKET", "want a bucket's name, without gs:// and /")
	case "file":
		c.checkConfigFile(s.Run.ConfigFile)
	}
}

func (c *checker) checkConfigFile(path string) {
	if path == "" {
		c.refuse("CONFIG_FILE", "not set, and CLUSTER_CONFIG_SOURCE=file needs it on every node: want the path of a plan")
		return
	}
	c.checkReadable("CONFIG_FILE", path)
}

// checkGCSEndpoint refuses an endpoint to which credentials would travel in
// the clear over the Internet. What a host name stands for is known only when
// it is dialled.
func (c *checker) checkGCSEndpoint(endpoint string) {
	if endpoint == "" {
		return
	}
	base, err := url.Parse(endpoint)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		c.refuse("GCS_ENDPOINT", "want a URL such as https://host/storage/v1/")
		return
	}
	ip, err := netip.ParseAddr(base.Hostname())
	c.refuseUnless(base.Scheme == "https" || err != nil || private(ip), "GCS_ENDPOINT",
		"plain http only goes to loopback and private addresses: want https")
}

func (c *checker) checkConsul(s *Settings) {
	consul := &s.Consul
	c.refuseUnless(consul.Addr == "" || isConsul(consul.Addr), "CONSUL_ADDR", "want http://host:port, https://host:port, host:port or unix:///path")
	c.refuseUnless(consul.HTTPAddr == "" || isConsul(consul.HTTPAddr), "CONSUL_HTTP_ADDR", "want http://host:port, https://host:port, host:port or unix:///path")
	if consul.Addr == "" {
		consul.Addr = consul.HTTPAddr
	}
	if consul.Addr == "" {
		consul.Addr = defaultConsul
	}
	c.checkToken("CONSUL_HTTP_TOKEN", consul.Token)
	c.refuseUnless(!strings.HasPrefix(s.Source.ConsulKey, "/"), "CONSUL_CONFIG_KEY", "want a key without a leading /")
	files := map[string]string{"CONSUL_HTTP_TOKEN_FILE": consul.TokenFile, "CONSUL_CACERT": consul.CACert}
	for _, name := range []string{"CONSUL_HTTP_TOKEN_FILE", "CONSUL_CACERT"} {
		if files[name] != "" {
			c.checkReadable(name, files[name])
		}
	}
	c.checkAllOrNone(map[string]string{"CONSUL_CLIENT_CERT": consul.ClientCert, "CONSUL_CLIENT_KEY": consul.ClientKey},
		"CONSUL_CLIENT_CERT", "CONSUL_CLIENT_KEY")
}

func isConsul(addr string) bool {
	scheme, rest, hasScheme := strings.Cut(addr, "://")
	if !hasScheme {
		return isDial(addr)
	}
	base, err := url.Parse(addr)
	switch scheme {
	case "unix":
		return rest != ""
	case "http", "https":
		return err == nil && base.Hostname() != ""
	}
	return false
}
