package main

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// watcher ends the watch when enough messages came.
type watcher struct {
	left int
	done context.CancelFunc
	err  error
}

func (w *watcher) OnJWTBundlesUpdate(set *jwtbundle.Set) {
	if w.left == 0 {
		return
	}
	var kids, domains []string
	for _, bundle := range set.Bundles() {
		domains = append(domains, bundle.TrustDomain().Name())
		for kid := range bundle.JWTAuthorities() {
			kids = append(kids, kid)
		}
	}
	sort.Strings(kids)
	sort.Strings(domains)
	say(event{"event": "bundle", "trust_domains": domains, "kids": kids})
	if w.left--; w.left == 0 {
		w.done()
	}
}

func (w *watcher) OnJWTBundlesWatchError(err error) {
	if w.left > 0 {
		w.err = err
	}
}

// watch takes the number of messages and, if there is a second argument, the seconds that it may take.
func watch(args []string) error {
	count, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	seconds := 30
	if len(args) > 1 {
		if seconds, err = strconv.Atoi(args[1]); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(seconds)*time.Second)
	defer cancel()
	w := &watcher{left: count, done: cancel}
	err = workloadapi.WatchJWTBundles(ctx, w)
	if w.left == 0 {
		return nil
	}
	return fmt.Errorf("%d further bundles did not come: %w", w.left, errors.Join(err, w.err))
}
