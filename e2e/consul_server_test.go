package e2e

import (
	"context"
	"fmt"
	"net/http"
	"time"

	consulapi "github.com/hashicorp/consul/api"
)

const (
	consulPort      = "8500/tcp"
	consulPortNo    = 8500
	consulRootToken = "e2e-root-token"
)

// consulServer is a real Consul agent: server and client in one, its data kept
// over a restart of the container.
type consulServer struct {
	*container
	acl bool
}

// consul starts a Consul; with acl everything is denied that no token permits.
func (b *bench) consul(acl bool) *consulServer {
	b.t.Helper()
	config := `performance { raft_multiplier = 1 }
leave_on_terminate = false
skip_leave_on_interrupt = true
disable_update_check = true
`
	if acl {
		config += fmt.Sprintf(`acl {
  enabled = true
  default_policy = "deny"
  tokens { initial_management = %q  agent = %q }
}
`, consulRootToken, consulRootToken)
	}
	c := b.create(containerSpec{
		name: "consul", image: b.imageFor(consulImage), onCluster: true, ports: []string{consulPort},
		cmd: []string{
			"agent", "-server", "-bootstrap-expect=1", "-data-dir=/data", "-bind=127.0.0.1", "-client=0.0.0.0",
			"-node=consul", "-log-level=warn", "-config-file=/consul.hcl",
		},
		files: map[string]string{"/consul.hcl": config},
	})
	c.start()
	made := &consulServer{c, acl}
	made.waitReady()
	return made
}

// consulAgents starts an agent per name, each for one machine: it listens for
// its clients there and gives out its address on the cluster's network. The
// first is the server. They publish what a node beside them would.
func (b *bench) consulAgents(names []string) (server *consulServer, agents []*container) {
	b.t.Helper()
	for _, name := range names {
		address := b.cluster.address(b.lastHost + 1)
		cmd := []string{
			"agent", "-data-dir=/data", "-bind=" + address, "-client=0.0.0.0", "-node=" + name, "-log-level=warn", "-hcl=disable_update_check = true",
		}
		if server == nil {
			cmd = append(cmd, "-server", "-bootstrap-expect=1", "-hcl=performance { raft_multiplier = 1 }")
		} else {
			cmd = append(cmd, "-retry-join="+server.clusterIP, "-retry-interval=1s")
		}
		c := b.create(containerSpec{
			name: "consul-" + name, image: b.imageFor(consulImage), onCluster: true, cmd: cmd,
			ports: []string{consulPort, controlPort, metricsPort},
		})
		c.start()
		if server == nil {
			server = &consulServer{c, false}
			server.waitReady()
		}
		agents = append(agents, c)
	}
	for _, c := range agents {
		(&consulServer{c, false}).waitReady()
	}
	return server, agents
}

// waitReady waits until the agent has a leader that answers for the whole
// cluster. It writes nothing: a write that is given up may still be done later.
func (s *consulServer) waitReady() {
	s.bench.t.Helper()
	eventually(s.bench.t, 30*time.Second, "consul is ready", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		client, err := s.client()
		if err != nil {
			return err
		}
		_, _, err = client.KV().Keys("", "", (&consulapi.QueryOptions{RequireConsistent: true}).WithContext(ctx))
		return err
	})
}

// env is how nodes reach this agent; token "" is the anonymous one.
func (s *consulServer) env(token string) env {
	return env{"CONSUL_ADDR": fmt.Sprintf("http://%s:%d", s.clusterIP, consulPortNo), "CONSUL_HTTP_TOKEN": token}
}

// discovery are the settings of nodes that find each other by this agent.
func (s *consulServer) discovery(expect int, token string) env {
	return s.env(token).with(env{"DISCOVERY_MODE": "consul", "CLUSTER_NODES": "", "CLUSTER_EXPECT": fmt.Sprint(expect)})
}

// client acts with every right. It is made anew as the port may have changed.
func (s *consulServer) client() (*consulapi.Client, error) {
	config := consulapi.DefaultConfig()
	config.Address, config.Token = s.url(consulPort), ""
	if s.acl {
		config.Token = consulRootToken
	}
	config.HttpClient = &http.Client{Timeout: 10 * time.Second}
	return consulapi.NewClient(config)
}

func (s *consulServer) mustClient() *consulapi.Client {
	s.bench.t.Helper()
	client, err := s.client()
	s.must("client", err)
	return client
}

func (s *consulServer) put(key, value string) {
	s.bench.t.Helper()
	_, err := s.mustClient().KV().Put(&consulapi.KVPair{Key: key, Value: []byte(value)}, nil)
	s.must("put "+key, err)
}

// get returns the value of a key, and whether there is one.
func (s *consulServer) get(key string) (string, bool) {
	s.bench.t.Helper()
	pair, _, err := s.mustClient().KV().Get(key, nil)
	s.must("get "+key, err)
	if pair == nil {
		return "", false
	}
	return string(pair.Value), true
}

func (s *consulServer) delete(key string) {
	s.bench.t.Helper()
	_, err := s.mustClient().KV().Delete(key, nil)
	s.must("delete "+key, err)
}

// keys are all keys of the store.
func (s *consulServer) keys() []string {
	s.bench.t.Helper()
	keys, _, err := s.mustClient().KV().Keys("", "", nil)
	s.must("list keys", err)
	return keys
}

// services are the entries of a service name, passing or not.
func (s *consulServer) services(name string) []*consulapi.ServiceEntry {
	s.bench.t.Helper()
	entries, _, err := s.mustClient().Health().Service(name, "", false, nil)
	s.must("list "+name, err)
	return entries
}

// register adds an entry by hand, for instance one that a dead node left.
func (s *consulServer) register(entry *consulapi.AgentServiceRegistration) {
	s.bench.t.Helper()
	s.must("register "+entry.ID, s.mustClient().Agent().ServiceRegister(entry))
}

// token makes a token with one policy of these rules (Consul's HCL) and returns its secret.
func (s *consulServer) token(name, rules string) string {
	s.bench.t.Helper()
	client := s.mustClient()
	policy, _, err := client.ACL().PolicyCreate(&consulapi.ACLPolicy{Name: name, Rules: rules}, nil)
	s.must("create policy "+name, err)
	token, _, err := client.ACL().TokenCreate(&consulapi.ACLToken{
		Description: name, Policies: []*consulapi.ACLTokenPolicyLink{{ID: policy.ID}},
	}, nil)
	s.must("create token "+name, err)
	return token.SecretID
}
