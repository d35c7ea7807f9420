package settings

import (
	"encoding/json"
	"time"
)

// Ephemeral is a node that is there for one run. Standalone only: the nodes of
// a cluster end with their run anyhow.
type Ephemeral struct {
	On           bool          `envconfig:"EPHEMERAL" default:"false" desc:"wait for a plan (CONFIG_FILE or POST /config), and leave some time after the first run that finishes; not in a cluster"`
	ScrapeDelay  time.Duration `envconfig:"EPHEMERAL_FINAL_SCRAPE_DELAY" default:"60s" desc:"how long an ephemeral node stays for a last scrape of its metrics; another plan in that time keeps it"`
	SelfDestruct Secret        `envconfig:"SELF_DESTRUCT_CMD" desc:"what an ephemeral node runs by sh -c before it exits, for at most a minute"`
}

// Registry is the web application that is told of this node.
type Registry struct {
	URL     string `envconfig:"NODE_REGISTRY_URL" desc:"base URL of the web application to register with: POST to /api/v1/nodes/register"`
	Key     Secret `envconfig:"AUTO_REGISTER_PSK" desc:"sent as X-Auto-Register-PSK; without it the node does not register"`
	BaseURL string `envconfig:"NODE_BASE_URL" desc:"URL of this node's control API as the web application reaches it; without it the node does not register"`
	Tags    string `envconfig:"NODE_TAGS" default:"{}" desc:"JSON, sent along as tags"`
}

func (c *checker) checkEphemeral(s *Settings) {
	e := s.Ephemeral
	switch {
	case e.On && s.Cluster.Enabled:
		c.refuse("EPHEMERAL", "not in a cluster, whose nodes end with their run anyhow: leave it unset")
	case e.On && s.Run.KeepAlive:
		c.warn("KEEP_ALIVE has no effect on an ephemeral node: it leaves after its run")
	case !e.On:
		for _, name := range []string{"EPHEMERAL_FINAL_SCRAPE_DELAY", "SELF_DESTRUCT_CMD"} {
			if s.IsSet(name) {
				c.warn("%s has no effect without EPHEMERAL=true", name)
			}
		}
	}
}

func (c *checker) checkRegistry(s *Settings) {
	r := s.Registry
	const form = "want a URL that begins with http:// or https://"
	c.refuseUnless(r.URL == "" || isTarget(r.URL), "NODE_REGISTRY_URL", form)
	c.refuseUnless(r.BaseURL == "" || isTarget(r.BaseURL), "NODE_BASE_URL", form)
	c.refuseUnless(json.Valid([]byte(r.Tags)), "NODE_TAGS", `want JSON, such as {"pool":"eu"}`)
	c.checkToken("AUTO_REGISTER_PSK", r.Key)
	if r.URL == "" {
		return
	}
	if !r.Key.IsSet() {
		c.warn("NODE_REGISTRY_URL has no effect without AUTO_REGISTER_PSK: the node does not register")
	}
	if r.BaseURL == "" {
		c.warn("NODE_REGISTRY_URL has no effect without NODE_BASE_URL: the node does not register")
	}
}

// Registers reports whether this node is to tell a web application of itself.
func (r Registry) Registers() bool { return r.URL != "" && r.Key.IsSet() && r.BaseURL != "" }
