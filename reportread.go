package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
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
// A * in an object's name stands for any characters but /, and leaves out reports. They come in the
// order in which they are named, those of a pattern in that of their names.
func readResults(ctx context.Context, paths []string) ([]*stats.Result, error) {
	var bucket *bucketResults
	var results []*stats.Result
	for _, path := range paths {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !inBucket(path) {
			r, err := readResultFile(path)
			if err != nil {
				return nil, err
			}
			results = append(results, r)
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
		return nil, fmt.Errorf("more than %d results are too many", maxResults)
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
