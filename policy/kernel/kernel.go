// Package kernel is AppArmor in the running kernel: whether it is there, which profiles it holds, whether their
// content is the one we compiled, and how they get there.
//
// It knows no policy. Nothing in it runs a program.
package kernel
