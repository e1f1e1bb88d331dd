// Pageserver is a small server of pages, for tests with a container that holds one static program of Go and nothing else. It
// has what such servers have: files, a note that somebody posts and a volume keeps, a health check that looks a name up, a
// log of requests, and an end in good order.
//
//	pageserver ADDRESS PAGES NOTES   listens at ADDRESS, such as ":8080"
//
//	GET /NAME         a file below the directory PAGES
//	POST /notes/NAME  keeps the body in the directory NOTES
//	GET /notes/NAME   gives it back
//	GET /health       "ok", if its own name leads to an address
//	POST /reload      has the process send SIGHUP to itself, and answers when it has come
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// most is the size of a note, in bytes.
const most = 1 << 16

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: pageserver ADDRESS PAGES NOTES")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "pageserver:", err)
		os.Exit(1)
	}
}

// serve serves until the process is told to stop, and then until all requests are answered.
func serve(address, pages, notes string) error {
	stopped, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, os.Interrupt)
	defer stop()
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServer(http.Dir(pages)))
	mux.Handle("GET /notes/", http.StripPrefix("/notes/", http.FileServer(http.Dir(notes))))
	mux.HandleFunc("POST /notes/{name}", func(w http.ResponseWriter, r *http.Request) {
		if err := keep(filepath.Join(notes, filepath.Base(r.PathValue("name"))), http.MaxBytesReader(w, r.Body, most)); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "kept")
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		if err := healthy(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, unix.SIGHUP)
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		if err := unix.Kill(os.Getpid(), unix.SIGHUP); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		<-hup
		fmt.Fprintln(w, "reloaded")
	})
	server := &http.Server{Addr: address, Handler: logged(mux), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() {
		<-stopped.Done()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		done <- server.Shutdown(ctx)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-done
}

// keep writes a file beside its place and renames it.
func keep(name string, from io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".note-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // which is gone if all went well
	_, err = io.Copy(f, from)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// healthy looks the host's own name up, as programs do that reach others by their names.
func healthy(ctx context.Context) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	_, err = net.DefaultResolver.LookupHost(ctx, name)
	return err
}

func logged(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.Printf("%s %q", r.Method, r.URL.Path)
		h.ServeHTTP(w, r)
	})
}
