/* SPDX-License-Identifier: Apache-2.0 */
#include "tls/openssl_api.h"

#include <dlfcn.h>
#include <string.h>

#include "tls/openssl_impl.h"

enum { OPENSSL_OLDEST = 0x10101000 };

/* ISO C has no way from an object pointer to a function's; POSIX has. */
static int
api_find(void *handle, const char *name, void *function)
{
    void *found = dlsym(handle, name);

    memcpy(function, &found, sizeof found);
    return found != NULL;
}

static const char *
api_fill(rsl_openssl_api *api, void *handle)
{
#define FIND(result, name, parameters)          \
    if (!api_find(handle, #name, &api->name)) { \
        return #name;                           \
    }
    RSL_OPENSSL_FUNCTIONS(FIND)
#undef FIND
    if (!api_find(handle, "SSL_get1_peer_certificate",
                  &api->get1_peer_certificate)
        && !api_find(handle, "SSL_get_peer_certificate",
                     &api->get1_peer_certificate)) {
        return "SSL_get1_peer_certificate";
    }
    return api->OpenSSL_version_num() < OPENSSL_OLDEST ? "version" : NULL;
}

rsl_status
rsl_openssl_api_open(rsl_openssl_api *api, void *handle, const char **missing)
{
    memset(api, 0, sizeof *api);
    *missing = api_fill(api, handle);
    if (*missing != NULL) {
        return RSL_UNSUPPORTED;
    }
    api->method = rsl_openssl_bio_method(api);
    return api->method == NULL ? RSL_NOMEM : RSL_OK;
}

void
rsl_openssl_api_close(rsl_openssl_api *api)
{
    if (api->method != NULL) {
        api->BIO_meth_free(api->method);
        api->method = NULL;
    }
}
