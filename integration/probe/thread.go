package main

import (
	"errors"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// under has a thread change to a profile and do something then.
func under(profile string, do func() error) error { return changed(changeprofile+profile, do) }

// changed has a thread change its label by a request, and do something then. The thread ends, since nothing could change it back.
func changed(request string, do func() error) error {
	return onThread(func() error {
		if err := ask(request); err != nil {
			return err
		}
		return do()
	})
}

// onThread does something on a thread that ends then.
func onThread(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- do()
	}()
	return <-done
}

// Requests of a thread about its label.
const (
	changeprofile = "changeprofile "
	changehat     = "changehat 00000000000000a1^" // the number is what would lead back
)

// ask changes the label of the thread.
func ask(request string) error {
	f, err := os.OpenFile("/proc/thread-self/attr/current", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(request)
	return err
}

// as returns a command that tries another one under the profile or in the hat that is its first argument.
func as(how string) func(arguments) error {
	return func(a arguments) error {
		if len(a) < 2 {
			return errors.New("as whom, and what?")
		}
		args := a[2:]
		if try, ok := attempts[a[1]]; ok {
			return changed(how+a[0], func() error { return try(args) })
		}
		if do, ok := signals[a[1]]; ok {
			pid, err := args.pid()
			if err != nil {
				return err
			}
			return changed(how+a[0], func() error { return do(pid) })
		}
		return errors.New(a[1] + " cannot be tried so")
	}
}

// overrideCredentials has an io_uring do a request, of nothing, with the credentials that the process has under its present
// label, for a thread that has changed to a profile. The numbers are those of include/uapi/linux/io_uring.h.
func overrideCredentials(profile string) error {
	const (
		registerPersonality = 9
		getEvents           = 1
		offSubmit           = 0
		offEntries          = 0x10000000
		entrySize           = 64
	)
	var params [120]byte // struct io_uring_params
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(fd))
	number := func(at int) uint32 { return *(*uint32)(unsafe.Pointer(&params[at])) }
	submit, complete := 40, 80 // the offsets of the queues: struct io_sqring_offsets, struct io_cqring_offsets
	rings, err := unix.Mmap(int(fd), offSubmit, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer unix.Munmap(rings)
	entries, err := unix.Mmap(int(fd), offEntries, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	defer unix.Munmap(entries)
	personality, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, fd, registerPersonality, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	clear(entries[:entrySize])                                     // IORING_OP_NOP
	*(*uint16)(unsafe.Pointer(&entries[42])) = uint16(personality) // of struct io_uring_sqe
	ring := func(at uint32) *uint32 { return (*uint32)(unsafe.Pointer(&rings[at])) }
	*ring(number(submit + 24)) = 0 // array[0]: the first entry
	*ring(number(submit + 4)) = 1  // tail
	return under(profile, func() error {
		if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, fd, 1, 1, getEvents, 0, 0); errno != 0 {
			return errno
		}
		result := *(*int32)(unsafe.Pointer(&rings[number(complete+20)+8])) // of the first struct io_uring_cqe
		if result < 0 {
			return unix.Errno(-result)
		}
		return nil
	})
}
