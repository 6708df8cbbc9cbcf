package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

const (
	pace      = 50 * time.Millisecond
	oneCall   = 20 * time.Second
	question  = "ping\n"
	agreement = "pong\n"
)

// calls are requests to a peer and of it, each on a connection with a handshake of its own.
type calls struct {
	source *workloadapi.X509Source

	mtx      sync.Mutex
	changed  *sync.Cond
	answered int
	last     event
	failure  error
}

func newCalls(source *workloadapi.X509Source) *calls {
	c := &calls{source: source}
	c.changed = sync.NewCond(&c.mtx)
	return c
}

// fail keeps the first thing that went wrong, on either side.
func (c *calls) fail(what string, err error) {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	if c.failure == nil {
		c.failure = fmt.Errorf("%s: %w", what, err)
	}
	c.changed.Broadcast()
}

// listen answers the requests of peer, and of nobody else.
func (c *calls) listen(peer string) error {
	id, err := spiffeid.FromString(peer)
	if err != nil {
		return err
	}
	config := tlsconfig.MTLSServerConfig(c.source, c.source, tlsconfig.AuthorizeID(id))
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		return err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				c.fail("accepting", err)
				return
			}
			go func() {
				if err := answer(connection); err != nil {
					c.fail("answering", err)
				}
			}()
		}
	}()
	say(event{"event": "listening", "address": listener.Addr().String()})
	return nil
}

func answer(connection net.Conn) error {
	defer func() { _ = connection.Close() }()
	if err := connection.SetDeadline(time.Now().Add(oneCall)); err != nil {
		return err
	}
	asked, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return err
	}
	if asked != question {
		return fmt.Errorf("asked %q", asked)
	}
	_, err = io.WriteString(connection, agreement)
	return err
}

// begin asks peer at address again and again from now on.
func (c *calls) begin(address, peer string) error {
	id, err := spiffeid.FromString(peer)
	if err != nil {
		return err
	}
	go func() {
		for range time.Tick(pace) {
			told, err := c.call(address, id)
			if err != nil {
				c.fail("calling", err)
				return
			}
			c.mtx.Lock()
			c.answered++
			c.last = told
			c.mtx.Unlock()
			c.changed.Broadcast()
		}
	}()
	say(event{"event": "calling"})
	return nil
}

// call makes one request with what the source holds now; who was on the two sides.
func (c *calls) call(address string, peer spiffeid.ID) (event, error) {
	own, err := c.source.GetX509SVID()
	if err != nil {
		return nil, err
	}
	config := tlsconfig.MTLSClientConfig(own, c.source, tlsconfig.AuthorizeID(peer))
	connection, err := tls.DialWithDialer(&net.Dialer{Timeout: oneCall}, "tcp", address, config)
	if err != nil {
		return nil, err
	}
	defer func() { _ = connection.Close() }()
	if err := connection.SetDeadline(time.Now().Add(oneCall)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(connection, question); err != nil {
		return nil, err
	}
	told, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		return nil, err
	}
	state := connection.ConnectionState()
	if told != agreement || state.DidResume {
		return nil, errors.New("not the answer to a new handshake")
	}
	return event{"own": identityOf(own.Certificates[0]), "peer": identityOf(state.PeerCertificates[0])}, nil
}

// await answers when so many further requests of ours have been answered and nothing has failed.
func (c *calls) await(count int) error {
	c.mtx.Lock()
	defer c.mtx.Unlock()
	for enough := c.answered + count; c.answered < enough && c.failure == nil; {
		c.changed.Wait()
	}
	if c.failure != nil {
		return c.failure
	}
	say(event{"event": "calls", "answered": c.answered, "own": c.last["own"], "peer": c.last["peer"]})
	return nil
}
