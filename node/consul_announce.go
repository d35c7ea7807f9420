package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"
)

// withdrawLimit bounds Withdraw: a process that is told to end has little time.
const withdrawLimit = 2 * time.Second

// deregisterAfter is how long an instance may be critical before Consul drops
// it: the least that Consul accepts (it takes up to 30 s longer).
const deregisterAfter = "1m"

// Announce sets the role that shall be shown, with the cluster it is in ("" if
// in none yet). It does not block; the last call counts.
func (c *Consul) Announce(role, clusterID string) {
	c.change(func() { c.wish.role, c.wish.clusterID = role, clusterID })
	select {
	case c.poke <- struct{}{}:
	default: // it is poked already
	}
}

// Announced blocks until the agent has confirmed that it shows role, or ctx
// ends; then the error tells what hindered it, ErrForbidden if ACLs did.
func (c *Consul) Announced(ctx context.Context, role string) error {
	for {
		c.mu.Lock()
		shown, failed, changed := c.confirmed.role, c.failed, c.changed
		c.mu.Unlock()
		if shown == role {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			err := fmt.Errorf("announce %q in Consul (shown: %q): %w", role, shown, ctx.Err())
			if failed != nil {
				err = fmt.Errorf("%w; last error: %w", err, failed)
			}
			return err
		}
	}
}

// Withdraw ends the announcement for good, within 2 s: the agent drops the
// registration and Run makes no new one. Whether Run still goes on does not matter.
func (c *Consul) Withdraw(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, withdrawLimit)
	defer cancel()
	c.change(func() { c.wish.withdrawn = true })
	select { // a registration on its way must not arrive after the deregistration
	case c.agent <- struct{}{}:
		defer func() { <-c.agent }()
	case <-ctx.Done():
		return fmt.Errorf("withdraw from Consul: another call is going on: %w", ctx.Err())
	}
	err := c.config.Client.Agent().ServiceDeregisterOpts(c.config.Member.ServerID, (&api.QueryOptions{}).WithContext(ctx))
	if isStatus(err, http.StatusNotFound) {
		err = nil // it is gone, which is what was wanted
	}
	if err := c.judge(err, "deregister "+c.config.Member.ServerID, c.servicePolicy()); err != nil {
		return err
	}
	c.change(func() { c.confirmed = wish{} })
	return nil
}

// Run keeps what the agent shows the same as what was announced, until ctx
// ends: at once after Announce, again after a failure, and every Recheck, since
// an agent may forget its services over a restart. It returns nil.
func (c *Consul) Run(ctx context.Context) error {
	failures := 0
	for {
		err := c.reconcile()
		if err == nil {
			failures = 0
		} else {
			failures++
		}
		c.report(err)
		timer := time.NewTimer(c.pause(failures))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-c.poke:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// pause is the wait before the next look, after so many failures in a row.
func (c *Consul) pause(failures int) time.Duration {
	if failures == 0 {
		return c.config.Recheck
	}
	wait := c.config.Recheck
	if failures < 16 {
		wait = min(c.config.Retry<<(failures-1), c.config.Recheck)
	}
	return wait/2 + rand.N(wait/2+1)
}

// reconcile brings the agent's registration in line with the wish. Its calls
// end by their own limit, not with Run: one that was cut off might still
// arrive, after Withdraw.
func (c *Consul) reconcile() error {
	c.agent <- struct{}{}
	defer func() { <-c.agent }()
	c.mu.Lock()
	want, shown := c.wish, c.confirmed
	c.mu.Unlock()
	if want.role == "" || want.withdrawn {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.config.Call)
	defer cancel()
	registration := c.registration(want)
	if want == shown {
		kept, err := c.kept(ctx, registration)
		if err != nil {
			return err
		}
		if kept {
			return c.examine(ctx)
		}
		c.config.Log.Warn("the Consul agent has lost or changed this node's registration; registering again", "service", c.config.Service)
		c.change(func() { c.confirmed = wish{} })
	}
	err := c.config.Client.Agent().ServiceRegisterOpts(registration, (api.ServiceRegisterOpts{}).WithContext(ctx))
	if err := c.judge(err, "register "+c.config.Member.ServerID, c.servicePolicy()); err != nil {
		return err
	}
	c.change(func() {
		if c.confirmed.role == "" {
			c.since = time.Now()
		}
		c.confirmed = want
	})
	return nil
}

// registration is what the agent shall hold. Registering it again with another
// tag changes that in one step and keeps the state of the check.
func (c *Consul) registration(want wish) *api.AgentServiceRegistration {
	id := c.config.Member.ServerID
	return &api.AgentServiceRegistration{
		ID: id, Name: c.config.Service, Address: c.host, Port: c.port, Tags: []string{want.role},
		Meta: map[string]string{"node_id": c.config.Member.NodeID, "server_id": id, "cluster_id": want.clusterID},
		Check: &api.AgentServiceCheck{
			CheckID: id + ":health", Name: "volley /health/cluster", HTTP: c.config.HealthURL,
			Interval: c.config.CheckInterval.String(), Timeout: c.config.CheckTimeout.String(),
			DeregisterCriticalServiceAfter: deregisterAfter,
		},
	}
}

// kept reports whether the agent still holds the registration as it should be.
func (c *Consul) kept(ctx context.Context, want *api.AgentServiceRegistration) (bool, error) {
	held, _, err := c.config.Client.Agent().Service(want.ID, (&api.QueryOptions{}).WithContext(ctx))
	if isStatus(err, http.StatusNotFound) {
		return false, nil
	}
	if err := c.judge(err, "look up "+want.ID, c.servicePolicy()); err != nil {
		return false, err
	}
	for key, value := range want.Meta {
		if held.Meta[key] != value {
			return false, nil
		}
	}
	return held.Service == want.Name && held.Address == want.Address && held.Port == want.Port && slices.Equal(held.Tags, want.Tags), nil
}

// examine warns, once, when the agent's check of this node has begun to fail:
// Consul's DNS leaves the node out then, and nothing else would say why.
func (c *Consul) examine(ctx context.Context) error {
	status, info, err := c.config.Client.Agent().AgentHealthServiceByIDOpts(c.config.Member.ServerID, (&api.QueryOptions{}).WithContext(ctx))
	if err := c.judge(err, "look up the check of "+c.config.Member.ServerID, c.servicePolicy()); err != nil {
		return err
	}
	output := "" // stays empty until the first check has been made
	if status == api.HealthCritical && info != nil && len(info.Checks) > 0 {
		output = info.Checks[0].Output
	}
	if output != "" && !c.critical {
		c.config.Log.Warn("Consul's check of this node fails; can its agent reach the control API (CLUSTER_HEALTH_ADDR)?",
			"url", c.config.HealthURL, "output", output)
	}
	c.critical = output != ""
	return nil
}

// report remembers and logs the outcome of a look: the first failure of a row
// and the end of the row, not each of a Consul that is away for an hour.
func (c *Consul) report(err error) {
	c.mu.Lock()
	before := c.failed
	c.mu.Unlock()
	if before == nil && err == nil {
		return
	}
	c.change(func() {
		if (before == nil) || errors.Is(err, ErrForbidden) != errors.Is(before, ErrForbidden) {
			c.failing = time.Now()
		}
		c.failed = err
	})
	switch {
	case err == nil:
		c.config.Log.Info("Consul shows this node again", "service", c.config.Service)
	case before == nil || before.Error() != err.Error():
		c.config.Log.Warn("Consul does not show this node as it should; trying again", "service", c.config.Service, "error", err.Error())
	}
}

// change changes what mu guards and wakes those who wait in Announced.
func (c *Consul) change(apply func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	apply()
	close(c.changed)
	c.changed = make(chan struct{})
}

func isStatus(err error, code int) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == code
}
