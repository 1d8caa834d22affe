/* SPDX-License-Identifier: Apache-2.0 */
#include "address_cache.h"

#include <netinet/in.h>
#include <string.h>

enum { CACHE_SLOTS = 128 };

typedef union cache_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} cache_address;

/* An address and what stands for it in Python; `object` is NULL when free. */
typedef struct cache_slot {
    PyObject *object;
    socklen_t length;
    cache_address address;
} cache_slot;

struct pyrsl_address_cache {
    cache_slot shown[CACHE_SLOTS]; /* by address */
    cache_slot read[CACHE_SLOTS];  /* by the object's identity */
};

pyrsl_address_cache *
pyrsl_address_cache_new(void)
{
    return calloc(1, sizeof(pyrsl_address_cache));
}

void
pyrsl_address_cache_free(pyrsl_address_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    for (size_t i = 0; i < CACHE_SLOTS; i++) {
        Py_XDECREF(cache->shown[i].object);
        Py_XDECREF(cache->read[i].object);
    }
    free(cache);
}

static bool
cache_takes(const rsl_addr *addr)
{
    return (addr->storage.ss_family == AF_INET
            && addr->length == sizeof(struct sockaddr_in))
           || (addr->storage.ss_family == AF_INET6
               && addr->length == sizeof(struct sockaddr_in6));
}

static size_t
cache_fold(uint64_t key)
{
    return (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 57);
}

static cache_slot *
cache_slot_of_address(pyrsl_address_cache *cache, const rsl_addr *addr)
{
    cache_address address;
    memcpy(&address, &addr->storage, addr->length);
    uint64_t key = address.v4.sin_port;
    if (addr->storage.ss_family == AF_INET) {
        key |= (uint64_t)address.v4.sin_addr.s_addr << 16;
    } else {
        uint64_t halves[2];
        memcpy(halves, &address.v6.sin6_addr, sizeof(halves));
        key ^= halves[0] ^ (halves[1] * 31);
    }
    return &cache->shown[cache_fold(key)];
}

static void
slot_fill(cache_slot *slot, PyObject *object, const rsl_addr *addr)
{
    memcpy(&slot->address, &addr->storage, addr->length);
    slot->length = addr->length;
    Py_XSETREF(slot->object, Py_NewRef(object));
}

PyObject *
pyrsl_address_cache_show(pyrsl_address_cache *cache, const rsl_addr *addr)
{
    if (!cache_takes(addr)) {
        return pyrsl_sockaddr_to_python(rsl_addr_sockaddr(addr), addr->length);
    }
    cache_slot *slot = cache_slot_of_address(cache, addr);
    if (slot->object != NULL && slot->length == addr->length
        && memcmp(&slot->address, &addr->storage, addr->length) == 0) {
        return Py_NewRef(slot->object);
    }
    PyObject *shown =
        pyrsl_sockaddr_to_python(rsl_addr_sockaddr(addr), addr->length);
    if (shown != NULL) {
        slot_fill(slot, shown, addr);
    }
    return shown;
}

bool
pyrsl_address_cache_read(pyrsl_address_cache *cache, int family,
                         PyObject *object, rsl_addr *out)
{
    cache_slot *slot = &cache->read[cache_fold((uintptr_t)object >> 4)];
    if (slot->object == object && slot->address.any.sa_family == family) {
        memcpy(&out->storage, &slot->address, slot->length);
        out->length = slot->length;
        return true;
    }
    if (!pyrsl_sockaddr_from_python(family, object, out)) {
        return false;
    }
    if (cache_takes(out)) {
        slot_fill(slot, object, out);
    }
    return true;
}
