package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"
)

// claimTries bounds how often a claim or a release is tried when others change
// the key in between.
const claimTries = 5

// ErrClaimContended: others kept changing the bootstrap key. Try later.
var ErrClaimContended = errors.New("the bootstrap key keeps changing")

// BootstrapKey is the KV key that holds the claim to bootstrap a cluster of
// that name, as JSON. The leader deletes it on a normal end.
func BootstrapKey(service string) string { return "loadtest/" + service + "/bootstrap" }

// Claim tries to take the right to bootstrap: it creates the key if there is
// none, replaces it if it holds the claim stale, and otherwise leaves it. It
// returns the claim that stands afterwards, which is the caller's if the
// cluster ids are equal. Claiming again what one holds is no error.
func (c *Consul) Claim(ctx context.Context, claim Claim, stale *Claim) (standing Claim, err error) {
	value, err := json.Marshal(claim)
	if err != nil {
		return Claim{}, fmt.Errorf("claim the bootstrap: %w", err)
	}
	for range claimTries {
		held, index, err := c.held(ctx)
		if err != nil {
			return Claim{}, err
		}
		if held != nil && (stale == nil || held.ClusterID != stale.ClusterID || held.ClusterID == claim.ClusterID) {
			return *held, nil
		}
		// Index 0 is "only if there is no such key".
		done, err := c.swap(ctx, &api.KVPair{Key: c.key(), Value: value, ModifyIndex: index})
		if err != nil {
			return Claim{}, err
		}
		if done {
			return claim, nil
		}
	}
	return Claim{}, fmt.Errorf("claim the bootstrap of %q: %w: %s", c.config.Service, ErrClaimContended, c.key())
}

// Release deletes the key if it still holds the claim of clusterID.
func (c *Consul) Release(ctx context.Context, clusterID string) error {
	for range claimTries {
		held, index, err := c.held(ctx)
		if err != nil {
			return err
		}
		if held == nil || held.ClusterID != clusterID {
			return nil
		}
		done, err := c.remove(ctx, &api.KVPair{Key: c.key(), ModifyIndex: index})
		if done || err != nil {
			return err
		}
	}
	return fmt.Errorf("release the bootstrap of %q: %w: %s", c.config.Service, ErrClaimContended, c.key())
}

func (c *Consul) key() string { return BootstrapKey(c.config.Service) }

func (c *Consul) keyPolicy() string {
	return fmt.Sprintf("the token (CONSUL_HTTP_TOKEN) needs: key %q { policy = \"write\" }", c.key())
}

// held reads the claim that stands, nil if none does, and the index it was
// written at. The read is consistent: a server cut off from the others answers
// nothing rather than something old.
func (c *Consul) held(ctx context.Context) (*Claim, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Call)
	defer cancel()
	pair, _, err := c.config.Client.KV().Get(c.key(), (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx))
	if err := c.judge(err, "read key "+c.key(), c.keyPolicy()); err != nil {
		return nil, 0, err
	}
	if pair == nil {
		return nil, 0, nil
	}
	var claim Claim
	if err := json.Unmarshal(pair.Value, &claim); err != nil || claim.ClusterID == "" {
		return nil, 0, fmt.Errorf("read key %s in Consul: its value is no bootstrap claim; if nothing else uses the key: consul kv delete %s", c.key(), c.key())
	}
	return &claim, pair.ModifyIndex, nil
}

func (c *Consul) swap(ctx context.Context, pair *api.KVPair) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Call)
	defer cancel()
	done, _, err := c.config.Client.KV().CAS(pair, (&api.WriteOptions{}).WithContext(ctx))
	return done, c.judge(err, "write key "+pair.Key, c.keyPolicy())
}

func (c *Consul) remove(ctx context.Context, pair *api.KVPair) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Call)
	defer cancel()
	done, _, err := c.config.Client.KV().DeleteCAS(pair, (&api.WriteOptions{}).WithContext(ctx))
	return done, c.judge(err, "delete key "+pair.Key, c.keyPolicy())
}
