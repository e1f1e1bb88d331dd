// Run boots a guest, building it first where that is needed, and runs a command in it: go run ./integration/guest/run
// trixie uname -a
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
)

func main() {
	job := guest.Job{Files: map[string]string{}, Output: os.Stdout, Progress: os.Stderr}
	flag.StringVar(&job.Console, "console", "", "write the kernel's messages to `file`")
	flag.StringVar(&job.Results, "results", "", "bring the guest's /results to `directory`")
	flag.IntVar(&job.Memory, "memory", 0, "`MiB` of memory")
	flag.BoolVar(&job.Systemd, "systemd", false, "boot systemd, and run the command in it")
	flag.Func("append", "add `word` to the kernel's command line", func(s string) error {
		job.KernelArgs = append(job.KernelArgs, s)
		return nil
	})
	flag.Func("file", "copy a file or directory into the guest, as `host:guest`", func(s string) error {
		from, to, ok := strings.Cut(s, ":")
		if !ok {
			return fmt.Errorf("want host:guest")
		}
		job.Files[to] = from
		return nil
	})
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: run [flags] suite [command [argument ...]]\nWithout a "+
			"command the guest is only built, and what it goes without is told.\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	code, err := run(ctx, flag.Arg(0), flag.Args()[1:], job)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 125
	}
	os.Exit(code)
}

func run(ctx context.Context, suites string, command []string, job guest.Job) (int, error) {
	guests, err := guest.Select(suites)
	if err != nil {
		return 0, err
	}
	for _, g := range guests {
		image, err := g.Build(ctx, os.Stderr)
		if err != nil {
			return 0, err
		}
		if err := image.FindMachine(ctx, os.Stderr); err != nil {
			return 0, err
		}
		if len(command) == 0 {
			for _, line := range image.NotShown() {
				fmt.Fprintln(os.Stderr, line)
			}
			continue
		}
		job.Command = command
		result, err := image.Run(ctx, job)
		if err != nil || result.ExitCode != 0 {
			return result.ExitCode, err
		}
		fmt.Fprintf(os.Stderr, "guest %s: booted in %.1f s, command took %.1f s, %.1f s of processor time\n",
			g.Suite, result.Boot.Seconds(), result.Command.Seconds(), result.CPU.Seconds())
	}
	return 0, nil
}
