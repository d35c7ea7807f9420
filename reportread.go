package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"volley/settings"
	"volley/sources"
	"volley/stats"
)

// atOnce is how many objects a report reads at a time.
const atOnce = 8

// readResults reads result files, and objects that are named gs://bucket/object.
// A * in a name stands for any characters but /, and leaves out reports: of a file, too, as not
// every shell puts the names there itself. They come in the order in which they are named, those of
// a pattern in that of their names.
func readResults(ctx context.Context, paths []string) ([]*stats.Result, error) {
	var bucket *bucketResults
	var results []*stats.Result
	for _, path := range paths {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !inBucket(path) {
			found, err := readResultFiles(path, maxResults-len(results))
			if err != nil {
				return nil, err
			}
			results = append(results, found...)
			continue
		}
		if bucket == nil {
			var err error
			if bucket, err = openBucketResults(); err != nil {
				return nil, err
			}
			defer bucket.store.Close()
		}
		found, err := bucket.read(ctx, path, maxResults-len(results))
		if err != nil {
			return nil, err
		}
		results = append(results, found...)
	}
	return results, nil
}

// readResultFiles reads a file, or all that match a pattern, at most so many.
func readResultFiles(path string, most int) (results []*stats.Result, err error) {
	names, err := matchingFiles(path)
	if err != nil {
		return nil, err
	}
	if len(names) > most {
		return nil, errTooMany()
	}
	for _, name := range names {
		r, err := readResultFile(name)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

// matchingFiles are those that a name with * stands for; a file of that very name
// comes first.
func matchingFiles(name string) ([]string, error) {
	if _, err := os.Lstat(name); err == nil || !strings.Contains(name, "*") {
		return []string{name}, nil
	}
	names, err := filepath.Glob(strings.NewReplacer(`\`, `\\`, "?", `\?`, "[", `\[`).Replace(name))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, reportSuffix) })
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: no file has such a name (* stands for any characters but /)", name)
	}
	return names, nil
}

func errTooMany() error { return fmt.Errorf("more than %d results are too many", maxResults) }

func readResultFile(path string) (*stats.Result, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := stats.ReadResult(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// bucketResults are results in Google Cloud Storage.
type bucketResults struct{ store *sources.Store }

func openBucketResults() (*bucketResults, error) {
	endpoint, emulator, err := settings.LoadStorage()
	if err != nil {
		return nil, err
	}
	store, err := sources.NewStore(sources.StoreConfig{Endpoint: endpoint, EmulatorHost: emulator, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	return &bucketResults{store}, nil
}

// read reads an object, or all that match a pattern, at most so many.
func (b *bucketResults) read(ctx context.Context, path string, most int) ([]*stats.Result, error) {
	place, err := sources.ParsePlace(path)
	if err != nil {
		return nil, err
	}
	places := []sources.Place{place}
	if strings.Contains(place.Object, "*") {
		// Beside each result there may be a report.
		if places, err = b.store.List(ctx, place, 2*most); err != nil {
			return nil, err
		}
		places = slices.DeleteFunc(places, func(p sources.Place) bool { return strings.HasSuffix(p.Object, reportSuffix) })
		if len(places) == 0 {
			return nil, fmt.Errorf("%s: no object has such a name (* stands for any characters but /)", path)
		}
	}
	if len(places) > most {
		return nil, errTooMany()
	}
	return b.readAll(ctx, places)
}

func (b *bucketResults) readAll(ctx context.Context, places []sources.Place) ([]*stats.Result, error) {
	results := make([]*stats.Result, len(places))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i, place := range places {
		g.Go(func() error {
			body, err := b.store.Get(gctx, place, stats.MaxResult)
			if err != nil {
				return err
			}
			if results[i], err = stats.ReadResult(bytes.NewReader(body)); err != nil {
				return fmt.Errorf("%s: %w", place, err)
			}
			return nil
		})
	}
	err := g.Wait()
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = ctx.Err()
	}
	return results, err
}
