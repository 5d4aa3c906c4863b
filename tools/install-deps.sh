#!/bin/sh
# Installs what building, testing and the demo need and is not there yet, on Debian and Ubuntu; says nothing when all is
# there. With --checks also what `make check-validation` and `make check-oclgrind` need.
#
# What is there is found by looking for the thing itself, so that a driver or tool from elsewhere is left alone.
set -eu

has_command() { command -v "$1" >/dev/null 2>&1; }
has_file() { for file in "$@"; do [ -e "$file" ] && return 0; done; return 1; }
has_library() { PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null | grep -q "[[:space:]]$1 "; }
has_module() { has_command pkg-config && pkg-config --exists "$1"; }
has_compiler() { has_command cc && has_file /usr/include/stdio.h /usr/include/*/stdio.h; }

wanted=""
# want PROBE ARGUMENT... -- PACKAGE...: one of the packages, the first that the distribution has, unless the probe succeeds.
want() {
    probe=""
    while [ "$1" != -- ]; do probe="$probe $1"; shift; done
    shift
    # shellcheck disable=SC2086 # the probe's words and patterns are meant to be expanded
    $probe || wanted="$wanted $(echo "$@" | tr ' ' '|')"
}

want has_compiler -- build-essential
want has_command cmake -- cmake
want has_command ninja -- ninja-build
want has_command pkg-config -- pkg-config pkgconf
want has_command glslangValidator -- glslang-tools
want has_file /usr/include/vulkan/vulkan.h /usr/local/include/vulkan/vulkan.h -- libvulkan-dev
want has_library libvulkan.so.1 -- libvulkan1
want has_file '/usr/share/vulkan/icd.d/lvp_icd*.json' -- mesa-vulkan-drivers
want has_file /usr/include/CL/cl.h /usr/local/include/CL/cl.h -- opencl-c-headers opencl-headers
want has_library libOpenCL.so.1 -- ocl-icd-libopencl1
want has_file /etc/OpenCL/vendors/pocl.icd -- pocl-opencl-icd
want has_module jansson -- libjansson-dev
want has_module criterion -- libcriterion-dev
if [ "${1:-}" = --checks ]; then
    want has_command oclgrind -- oclgrind
    want has_file '/usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation*.json' -- vulkan-validationlayers
    want has_command spirv-val -- spirv-tools
fi

[ -n "$wanted" ] || exit 0
if ! has_command apt-get; then
    echo "install-deps: no apt-get here; install what these Debian packages hold:$wanted" >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if ! has_command sudo; then
        echo "install-deps: neither root nor sudo; install:$wanted" >&2
        exit 1
    fi
    as_root=sudo
fi

# The packages to install, or nothing and false when the lists do not have one of them.
choose_packages() {
    chosen=""
    for alternatives in $wanted; do
        found=""
        for package in $(echo "$alternatives" | tr '|' ' '); do
            if [ -z "$found" ] && apt-cache policy "$package" 2>/dev/null | grep -q 'Candidate: [^(]'; then found="$package"; fi
        done
        if [ -z "$found" ]; then
            missing="$alternatives"
            return 1
        fi
        chosen="$chosen $found"
    done
}

install_packages() {
    # shellcheck disable=SC2086 # a list of names
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $chosen
}

# Package lists that are absent or old show as a missing candidate or a failed download.
if choose_packages && echo "install-deps: installing$chosen" && install_packages; then exit 0; fi
$as_root apt-get update -q
if ! choose_packages; then
    echo "install-deps: no package $missing in this distribution" >&2
    exit 1
fi
install_packages
