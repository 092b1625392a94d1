// Command release prepares what the release workflow publishes:
//
//	go run ./tools/release tree -image ghcr.io/shiksha/actions@sha256:... -out DIR
//	go run ./tools/release notes v1.2.3
//
// tree writes what a version's tag points to: the actions on a finished image.
// notes prints what changes says of a version.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

const usage = `usage:
    release tree -image ghcr.io/shiksha/actions@sha256:... -out DIR
    release notes v1.2.3`

func run(args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	switch verb, args := args[0], args[1:]; {
	case verb == "tree":
		return tree(args, out)
	case verb == "notes" && len(args) == 1:
		text, err := Notes(os.DirFS("."), args[0])
		if err == nil {
			_, err = io.WriteString(out, text)
		}
		return err
	}
	return errors.New(usage)
}

func tree(args []string, out io.Writer) error {
	var t Tree
	flags := flag.NewFlagSet("tree", flag.ContinueOnError)
	flags.StringVar(&t.Image, "image", "", "the image of the actions, with its digest")
	flags.StringVar(&t.Out, "out", "", "folder to write to; it must be empty or not there")
	flags.StringVar(&t.Root, "root", ".", "folder of the repository")
	if err := flags.Parse(args); err != nil {
		return err
	}
	files, err := t.Write()
	for _, name := range files {
		_, _ = fmt.Fprintln(out, name)
	}
	return err
}
