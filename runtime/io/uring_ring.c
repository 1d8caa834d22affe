/* SPDX-License-Identifier: Apache-2.0 */
#include "io/backend.h"

rsl_status
rsl_uring_open(rsl_runtime *rt, rsl_backend **out, rsl_err *err)
{
    (void)rt, (void)out;
    *err = (rsl_err){.code = 0, .call = "io_uring_setup"};
    return RSL_UNSUPPORTED;
}

uint32_t
rsl_uring_features(const rsl_backend *backend)
{
    (void)backend;
    return 0;
}
