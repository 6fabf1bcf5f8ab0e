/// What Git LFS leaves in place of a file whose content it has not fetched.
package let gitLFSPointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
