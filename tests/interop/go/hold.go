package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// holder has an X.509 source, and does with it what it is told.
type holder struct {
	source *workloadapi.X509Source
	calls  *calls
}

// hold opens the source and answers one command a line until there are no more.
func hold(ctx context.Context) error {
	source, err := workloadapi.NewX509Source(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	h := &holder{source: source, calls: newCalls(source)}
	if err := sayCurrent(source); err != nil {
		return err
	}
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		if err := h.do(strings.Fields(commands.Text())); err != nil {
			return err
		}
	}
	return commands.Err()
}

func (h *holder) do(command []string) error {
	ctx := context.Background()
	switch {
	case len(command) == 1 && command[0] == "svid":
		return sayCurrent(h.source)
	case len(command) == 1 && command[0] == "next":
		if err := h.source.WaitUntilUpdated(ctx); err != nil {
			return err
		}
		return sayCurrent(h.source)
	case len(command) == 1 && command[0] == "bundles":
		return sayX509Bundles(ctx)
	case len(command) == 2 && command[0] == "listen":
		return h.calls.listen(command[1])
	case len(command) == 3 && command[0] == "call":
		return h.calls.begin(command[1], command[2])
	case len(command) == 2 && command[0] == "calls":
		count, err := strconv.Atoi(command[1])
		if err != nil {
			return err
		}
		return h.calls.await(count)
	}
	return fmt.Errorf("no such command: %q", command)
}
