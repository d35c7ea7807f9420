package settings

import (
	"net/netip"
	"net/url"
	"strings"
)

const defaultConsul = "http://127.0.0.1:8500"

func (c *checker) checkSource(s *Settings) {
	c.checkCredentialed("GCS_ENDPOINT", s.Source.GCSEndpoint, "https://host/storage/v1/")
	if !s.Cluster.Enabled || c.bad["CLUSTER_CONFIG_SOURCE"] {
		return
	}
	c.warnOtherSources(s)
	c.refuseUnless(!s.Source.Watch || s.Source.Kind != "none", "CLUSTER_CONFIG_WATCH",
		"there is nothing to follow with CLUSTER_CONFIG_SOURCE=none: want false, or the source gcs, consul-kv or file")
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

// warnOtherSources names what is set for a source that is not the one.
func (c *checker) warnOtherSources(s *Settings) {
	for _, v := range [][2]string{{"CONFIG_FILE", "file"}, {"GCS_CONFIG_BUCKET", "gcs"}, {"GCS_CONFIG_OBJECT", "gcs"}, {"CONSUL_CONFIG_KEY", "consul-kv"}} {
		if name, source := v[0], v[1]; s.IsSet(name) && s.Source.Kind != "" && s.Source.Kind != source {
			c.warn("%s has no effect with CLUSTER_CONFIG_SOURCE=%s", name, s.Source.Kind)
		}
	}
}

func (c *checker) checkConfigFile(path string) {
	if path == "" {
		c.refuse("CONFIG_FILE", "not set, and CLUSTER_CONFIG_SOURCE=file needs it on every node: want the path of a plan")
		return
	}
	c.checkReadable("CONFIG_FILE", path)
}

// checkCredentialed refuses an endpoint to which credentials would travel in
// the clear over the Internet. What a host name stands for is known only when
// it is dialled.
func (c *checker) checkCredentialed(name, endpoint, such string) {
	if endpoint == "" {
		return
	}
	base, err := url.Parse(endpoint)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		c.refuse(name, "want a URL such as %s", such)
		return
	}
	ip, err := netip.ParseAddr(base.Hostname())
	c.refuseUnless(base.Scheme == "https" || err != nil || private(ip), name,
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
	c.checkFolder("CONSUL_CAPATH", consul.CAPath)
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
