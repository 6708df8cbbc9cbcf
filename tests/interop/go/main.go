// Command interop drives an agent with the stock Go SPIFFE library.
// See ../README.md for the scenarios.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
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
	return nil
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
		if err := saySVID(svid); err != nil {
			return err
		}
	}
	return nil
}

// fetchTogether asks count times at once, all through the one connection of the client.
func (s *session) fetchTogether(ctx context.Context, audience string, count int) error {
	svids, failures := make([]*jwtsvid.SVID, count), make([]error, count)
	var all sync.WaitGroup
	for i := range count {
		all.Add(1)
		go func() {
			defer all.Done()
			if svids[i], failures[i] = s.client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience}); failures[i] == nil {
				failures[i] = s.validate(ctx, svids[i], audience)
			}
		}()
	}
	all.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	for _, svid := range svids {
		if err := saySVID(svid); err != nil {
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
		if err := saySVID(svid); err != nil {
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

func run(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	switch {
	case args[0] == "x509-fetch":
		return fetchX509(ctx)
	case args[0] == "x509-refused":
		return refusedX509(ctx)
	case args[0] == "x509-hold":
		return hold(ctx)
	case len(args) < 2:
		return fmt.Errorf("no such scenario: %q", args)
	case args[0] == "refused":
		return refused(ctx, args[1])
	case args[0] == "watch":
		return watch(args[1:])
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
	case args[0] == "fetch-together" && len(args) > 2:
		count, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return s.fetchTogether(ctx, args[1], count)
	case args[0] == "refused-validation" && len(args) > 2:
		return s.refusedValidation(ctx, args[1], args[2])
	}
	return fmt.Errorf("no such scenario: %q", args)
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintf(os.Stderr, "usage: %s SCENARIO [ARGUMENT...]\n", os.Args[0])
		os.Exit(2)
	}
	if err := run(os.Args[1:]); err != nil {
		say(event{"event": "error", "what": err.Error()})
		os.Exit(1)
	}
}
