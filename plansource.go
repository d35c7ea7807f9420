package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hashicorp/consul/api"

	"volley/node"
	"volley/plan"
	"volley/settings"
	"volley/sources"
)

// chosen is the start-up source of the plan, nil Source to wait for a posted one.
type chosen struct {
	node.Source
	name  string
	watch func(trouble string) node.Watch // nil where there is nothing to follow
	hash  string                          // of the local file, with source file in a cluster
}

// source picks where the plan comes from.
func (a *app) source() (chosen, error) {
	if !a.set.Cluster.Enabled {
		return a.standaloneSource()
	}
	switch kind := a.set.Source.Kind; kind {
	case "gcs":
		return a.gcsSource()
	case "consul-kv":
		return a.consulSource()
	case "file":
		body, err := os.ReadFile(a.set.Run.ConfigFile)
		if err != nil {
			return chosen{}, fmt.Errorf("CONFIG_FILE: %w", err)
		}
		c, err := fileSource(a.set.Run.ConfigFile)
		c.hash = plan.Version(body)
		return c, err
	default:
		return chosen{name: node.SourceNone}, nil
	}
}

func (a *app) standaloneSource() (chosen, error) {
	if file := a.planFile(); file != "" {
		c, err := fileSource(file)
		c.Source = overlaid{c.Source, a}
		return c, err
	}
	// An ephemeral node waits for its plan, to which TARGET_URL may add.
	if a.set.LoadPlan.TargetURL == "" || a.set.Ephemeral.On {
		if a.set.Job.Task() {
			return chosen{}, errors.New("a task of a job has nobody to post it a plan (CONFIG_FILE, " + defaultPlan + ", or TARGET_URL and its companions)")
		}
		return chosen{name: node.SourceNone}, nil
	}
	document, err := plan.FromEnvironment(environmentOf(a.set))
	if err != nil {
		return chosen{}, err
	}
	if document, _, err = plan.Merge(document, plan.Environment{Scope: variablesSet(a.set).Scope}, plan.EnvironmentWins); err != nil {
		return chosen{}, err
	}
	for _, note := range variablesSet(a.set).WithoutEffect() {
		a.log.Warn(note, "event", "settings_warning")
	}
	return chosen{Source: written{document}, name: "env"}, nil
}

func fileSource(path string) (chosen, error) {
	f, err := sources.NewFile(path)
	if err != nil {
		return chosen{}, err
	}
	return from(node.SourceFile, f), nil
}

// from is a source that can be watched.
func from(name string, d documents) chosen {
	f := fetched{name, d}
	return chosen{Source: f, name: name, watch: func(trouble string) node.Watch { return watched{f, d.Watch(trouble)} }}
}

func (a *app) gcsSource() (chosen, error) {
	g, err := sources.NewGCS(sources.GCSConfig{
		Bucket: a.set.Source.GCSBucket, Object: a.set.Source.GCSObject, Endpoint: a.set.Source.GCSEndpoint,
		EmulatorHost: a.set.Source.StorageEmulator, OnRetry: a.sourceRetry,
	})
	if err != nil {
		return chosen{}, err
	}
	a.closers = append(a.closers, func() { g.Close() })
	return from("gcs", g), nil
}

func (a *app) consulSource() (chosen, error) {
	client, err := consulClient(a.set.Consul)
	if err != nil {
		return chosen{}, err
	}
	c, err := sources.NewConsul(sources.ConsulConfig{Client: client, Key: a.set.Source.ConsulKey, OnRetry: a.sourceRetry})
	if err != nil {
		return chosen{}, err
	}
	return from("consul-kv", c), nil
}

func (a *app) sourceRetry(err error) {
	a.log.Warn("fetching the plan failed, trying again: "+err.Error(), "event", "config_fetch_retry")
}

// consulClient is a client of its own: nothing of the load's HTTP settings is in it.
func consulClient(set settings.Consul) (*api.Client, error) {
	c := api.DefaultConfig()
	c.Address, c.Token, c.TokenFile = set.Addr, set.Token.Reveal(), set.TokenFile
	c.Namespace, c.Partition = set.Namespace, set.Partition
	c.TLSConfig = api.TLSConfig{
		CAFile: set.CACert, CAPath: set.CAPath, CertFile: set.ClientCert, KeyFile: set.ClientKey,
		Address: set.TLSServerName, InsecureSkipVerify: !set.SSLVerify,
	}
	if _, err := api.SetupTLSConfig(&c.TLSConfig); err != nil { // as NewClient does, which blames the address
		return nil, fmt.Errorf("CONSUL_CACERT, CONSUL_CAPATH, CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY: %w (accepted: PEM)", err)
	}
	if set.SSL {
		c.Scheme = "https"
	}
	if user, password, ok := strings.Cut(set.Auth.Reveal(), ":"); ok {
		c.HttpAuth = &api.HttpBasicAuth{Username: user, Password: password}
	}
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("CONSUL_ADDR %q: %w", set.Addr, err)
	}
	return client, nil
}

// documents is what a package of sources offers: the document, and the files
// that it names.
type documents interface {
	Fetch(ctx context.Context) (sources.Document, error)
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	Watch(trouble string) *sources.Watch
}

// dataFiles opens the files that a plan names, by where the plan came from.
type dataFiles struct {
	start  node.Source // the start-up source
	folder string      // DATA_DIR
}

func (d dataFiles) Open(ctx context.Context, c node.Config, name string) (io.ReadCloser, error) {
	switch c.Source {
	case node.SourceFile:
		return sources.File{Path: c.Origin}.Open(ctx, name)
	case node.SourcePost:
		if d.folder == "" {
			return nil, fmt.Errorf("a posted plan finds its files in DATA_DIR, which is not set: %q", name)
		}
		return sources.Folder{Path: d.folder}.Open(ctx, name)
	}
	if f, ok := d.start.(fetched); ok {
		return f.from.Open(ctx, name)
	}
	return nil, fmt.Errorf("a plan from the %s names no files, but this one names %q", c.Source, name)
}

// fetched makes a node's config of a document.
type fetched struct {
	name string
	from documents
}

func (f fetched) Fetch(ctx context.Context) (node.Config, error) {
	return f.config(f.from.Fetch(ctx))
}

func (f fetched) config(d sources.Document, err error) (node.Config, error) {
	c := node.Config{Source: f.name, Origin: d.Origin, Revision: d.Revision}
	if err == nil {
		c.Version, c.Document = plan.Version(d.Bytes), d.Bytes
	}
	return c, err
}

// watched makes a node's configs of what a watch finds.
type watched struct {
	fetched
	watch *sources.Watch
}

func (w watched) Next(ctx context.Context, known string) (node.Config, error) {
	return w.config(w.watch.Next(ctx, known))
}

// written is the plan that the environment describes.
type written struct{ document []byte }

func (w written) Fetch(context.Context) (node.Config, error) {
	version := plan.Version(w.document)
	return node.Config{Version: version, Source: "env", Origin: "environment", Revision: version, Document: w.document}, nil
}

// environmentOf takes the variables that describe a plan.
func environmentOf(s settings.Settings) plan.Environment {
	l := s.LoadPlan
	e := plan.Environment{
		TargetURL: l.TargetURL, RequestType: l.RequestType, SendJSON: l.SendJSON, JSONPayload: l.JSONPayload.Reveal(),
		CustomHeaders: l.CustomHeaders.Reveal(), ResolveTargetAddr: l.ResolveTarget, SkipTLSVerify: &l.SkipTLSVerify,
		RequestTimeout: &l.Timeout, Workers: &l.Workers, Duration: &l.Duration, LoadModel: l.Model,
		TargetRPS: l.TargetRPS, MinRPS: l.MinRPS, MaxRPS: l.MaxRPS, RampDuration: l.RampDuration,
		DailyMinRPS: l.DailyMinRPS, DailyMidRPS: l.DailyMidRPS, DailyMaxRPS: l.DailyMaxRPS, DailyCycleDuration: l.DailyCycle,
		MorningRampRatio: &l.MorningRamp, PeakSustainRatio: &l.PeakSustain, MidDeclineRatio: &l.MidDecline,
		MidSustainRatio: &l.MidSustain, EveningDeclineRatio: &l.EveningDecline, Tenant: s.Node.Tenant,
	}
	if s.IsSet("POOL_MAX_IDLE_PER_HOST") {
		e.PoolMaxIdlePerHost = &l.PoolMaxIdle
	}
	if s.IsSet("POOL_IDLE_TIMEOUT_SECS") {
		seconds := int(l.PoolIdleTimeout.Seconds())
		e.PoolIdleTimeoutSecs = &seconds
	}
	return e
}
