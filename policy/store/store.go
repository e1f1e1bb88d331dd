// Package store keeps the applied policy on disk: numbered generations, of which one is in force, and the compiled
// profiles that they use, named by their content.
package store

// Dir is where the store is.
const Dir = "/var/lib/oci-apparmor"

// Store is a store's directory.
type Store struct{ Dir string }
