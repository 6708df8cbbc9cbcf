// Command interop drives an agent with the stock Go SPIFFE library.
// See ../README.md for the scenarios.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const callLimit = 20 * time.Second

type event map[string]any

func say(e event) {
	line, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

func saySVID(svid *jwtsvid.SVID) error {
	token, err := jwt.ParseSigned(svid.Marshal(), []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
	if err != nil {
		return err
	}
	say(event{
		"event":     "svid",
		"spiffe_id": svid.ID.String(),
		"jti":       svid.Claims["jti"],
		"exp":       svid.Expiry.Unix(),
		"kid":       token.Headers[0].KeyID,
		"audience":  svid.Audience,
	})
	return nil
}

// session is what a workload of this library usually holds: a client for single
// calls and a source that follows the bundles.
type session struct {
	client *workloadapi.Client
	source *workloadapi.JWTSource
}

func open(ctx context.Context) (*session, error) {
	client, err := workloadapi.New(ctx)
	if err != nil {
		return nil, err
	}
	source, err := workloadapi.NewJWTSource(ctx)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &session{client, source}, nil
}

func (s *session) close() {
	_ = s.source.Close()
	_ = s.client.Close()
}

func (s *session) validate(ctx context.Context, svid *jwtsvid.SVID, audience string) error {
	local, err := jwtsvid.ParseAndValidate(svid.Marshal(), s.source, []string{audience})
	if err != nil {
		return err
	}
	remote, err := s.client.ValidateJWTSVID(ctx, svid.Marshal(), audience)
	if err != nil {
		return err
	}
	if local.ID != svid.ID || remote.ID != svid.ID {
		return errors.New("the validated SPIFFE IDs differ")
	}
	return saySVID(local)
}

func (s *session) fetch(ctx context.Context, audience string, times int) error {
	for range times {
		svid, err := s.client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
		if err != nil {
			return err
		}
		if err := s.validate(ctx, svid, audience); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) fetchAll(ctx context.Context, audience string) error {
	svids, err := s.client.FetchJWTSVIDs(ctx, jwtsvid.Params{Audience: audience})
	if err != nil {
		return err
	}
	for _, svid := range svids {
		if err := s.validate(ctx, svid, audience); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) refusedValidation(ctx context.Context, audience, other string) error {
	svid, err := s.client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	if err != nil {
		return err
	}
	if _, err := jwtsvid.ParseAndValidate(svid.Marshal(), s.source, []string{other}); err == nil {
		return errors.New("the library took a token for another audience")
	}
	_, err = s.client.ValidateJWTSVID(ctx, svid.Marshal(), other)
	return sayRefusal(err)
}

func refused(ctx context.Context, audience string) error {
	_, err := workloadapi.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	return sayRefusal(err)
}

func sayRefusal(err error) error {
	if err == nil {
		return errors.New("not refused")
	}
	code := status.Code(err)
	name, known := codeNames[code]
	if !known {
		return err
	}
	say(event{"event": "refused", "code": name})
	return nil
}

// The names that the gRPC specification gives to the codes that a refusal can have.
var codeNames = map[codes.Code]string{
	codes.InvalidArgument:   "INVALID_ARGUMENT",
	codes.NotFound:          "NOT_FOUND",
	codes.PermissionDenied:  "PERMISSION_DENIED",
	codes.ResourceExhausted: "RESOURCE_EXHAUSTED",
	codes.Unauthenticated:   "UNAUTHENTICATED",
	codes.Unavailable:       "UNAVAILABLE",
	codes.Unimplemented:     "UNIMPLEMENTED",
}

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

func watch(ctx context.Context, count int, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	w := &watcher{left: count, done: cancel}
	err := workloadapi.WatchJWTBundles(ctx, w)
	if w.left == 0 {
		return nil
	}
	return fmt.Errorf("%d further bundles did not come: %w", w.left, errors.Join(err, w.err))
}

func run(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	switch args[0] {
	case "refused":
		return refused(ctx, args[1])
	case "watch":
		count, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		seconds := 30
		if len(args) > 2 {
			if seconds, err = strconv.Atoi(args[2]); err != nil {
				return err
			}
		}
		return watch(context.Background(), count, time.Duration(seconds)*time.Second)
	}
	s, err := open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	switch {
	case args[0] == "fetch":
		return s.fetch(ctx, args[1], 1)
	case args[0] == "fetch-twice":
		return s.fetch(ctx, args[1], 2)
	case args[0] == "fetch-all":
		return s.fetchAll(ctx, args[1])
	case args[0] == "refused-validation" && len(args) > 2:
		return s.refusedValidation(ctx, args[1], args[2])
	}
	return fmt.Errorf("no such scenario: %q", args)
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintf(os.Stderr, "usage: %s SCENARIO ARGUMENT...\n", os.Args[0])
		os.Exit(2)
	}
	if err := run(os.Args[1:]); err != nil {
		say(event{"event": "error", "what": err.Error()})
		os.Exit(1)
	}
}
