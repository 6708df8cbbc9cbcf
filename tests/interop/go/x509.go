package main

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"sort"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// sayX509SVID tells of an SVID that the library has verified by the bundle of its trust domain. That
// the key is the leaf's, the library looked at when it took the message.
func sayX509SVID(svid *x509svid.SVID, bundles x509bundle.Source) error {
	id, _, err := x509svid.Verify(svid.Certificates, bundles)
	if err != nil {
		return err
	}
	if id != svid.ID {
		return errors.New("the SVID says that it is another's")
	}
	bundle, err := bundles.GetX509BundleForTrustDomain(id.TrustDomain())
	if err != nil {
		return err
	}
	leaf := svid.Certificates[0]
	say(event{
		"event":       "x509-svid",
		"spiffe_id":   id.String(),
		"hint":        svid.Hint,
		"serial":      hex.EncodeToString(leaf.SerialNumber.Bytes()),
		"not_before":  leaf.NotBefore.Unix(),
		"not_after":   leaf.NotAfter.Unix(),
		"authority":   hex.EncodeToString(leaf.AuthorityKeyId),
		"authorities": authoritiesOf(bundle),
	})
	return nil
}

// authoritiesOf names the authorities of a bundle by their subject key ids.
func authoritiesOf(bundle *x509bundle.Bundle) []string {
	ids := []string{}
	for _, authority := range bundle.X509Authorities() {
		ids = append(ids, hex.EncodeToString(authority.SubjectKeyId))
	}
	sort.Strings(ids)
	return ids
}

func fetchX509(ctx context.Context) error {
	fetched, err := workloadapi.FetchX509Context(ctx)
	if err != nil {
		return err
	}
	for _, svid := range fetched.SVIDs {
		if err := sayX509SVID(svid, fetched.Bundles); err != nil {
			return err
		}
	}
	return nil
}

func refusedX509(ctx context.Context) error {
	_, err := workloadapi.FetchX509SVIDs(ctx)
	return sayRefusal(err)
}

// sayX509Bundles asks anew, by the call for bundles: the source goes by that for SVIDs.
func sayX509Bundles(ctx context.Context) error {
	set, err := workloadapi.FetchX509Bundles(ctx)
	if err != nil {
		return err
	}
	bundles := map[string][]string{}
	for _, bundle := range set.Bundles() {
		bundles[bundle.TrustDomain().Name()] = authoritiesOf(bundle)
	}
	say(event{"event": "x509-bundles", "bundles": bundles})
	return nil
}

// sayCurrent tells of the SVID that the source holds now.
func sayCurrent(source *workloadapi.X509Source) error {
	svid, err := source.GetX509SVID()
	if err != nil {
		return err
	}
	return sayX509SVID(svid, source)
}

// identityOf is what a call says of one side of it.
func identityOf(leaf *x509.Certificate) event {
	return event{
		"serial":    hex.EncodeToString(leaf.SerialNumber.Bytes()),
		"authority": hex.EncodeToString(leaf.AuthorityKeyId),
	}
}
