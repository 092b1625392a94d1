// Command unit is what the tests of package engine run in containers: it waits
// for SIGTERM, or does one small thing and ends.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	args := append(os.Args[1:], "wait", "0")
	switch args[0] {
	case "cat": // FILE
		b, err := os.ReadFile(args[1])
		check(err)
		fmt.Print(string(b))
	case "count": // how many bytes stdin has
		b, err := io.ReadAll(os.Stdin)
		check(err)
		fmt.Print(len(b))
	case "write": // FILE TEXT
		check(os.WriteFile(args[1], []byte(args[2]), 0o644))
	case "fail": // CODE
		fmt.Print("out\n")
		fmt.Fprint(os.Stderr, "err\n")
		code, _ := strconv.Atoi(args[1])
		os.Exit(code)
	case "say": // LINES...
		wait(0, strings.Join(args[1:len(args)-2], "\n"))
	case "wait": // SECONDS to take after SIGTERM
		seconds, _ := strconv.ParseFloat(args[1], 64)
		wait(time.Duration(seconds*float64(time.Second)), "ready")
	}
}

// wait says hello once it can take signals.
func wait(after time.Duration, hello string) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGHUP)
	fmt.Println(hello)
	for s := range c {
		fmt.Println("got", s)
		if s == syscall.SIGTERM {
			time.Sleep(after)
			return
		}
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
