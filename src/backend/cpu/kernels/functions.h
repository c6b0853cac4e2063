/* Elementary functions on sixteen lanes. */
#ifndef PV_CPU_FUNCTIONS_H
#define PV_CPU_FUNCTIONS_H

#include "runtime/op.h"
#include "simd.h"

/* 2^k for −126 ≤ k ≤ 127. */
PV_INLINE vf vf_power(vi k) { return vf_bits(vi_shl(vi_add(k, vi_set(127)), 23)); }

/* (e^r − 1 − r) / r² of the series of e^r to r^7. */
PV_INLINE vf vf_exp_series(vf r)
{
    vf p = vf_set(1.0f / 5040.0f);
    p = vf_fma(p, r, vf_set(1.0f / 720.0f));
    p = vf_fma(p, r, vf_set(1.0f / 120.0f));
    p = vf_fma(p, r, vf_set(1.0f / 24.0f));
    p = vf_fma(p, r, vf_set(1.0f / 6.0f));
    return vf_fma(p, r, vf_set(0.5f));
}

/* e^x, within 2 ulp; subnormal results included, 0 and infinity beyond; NaN stays NaN.
 * e^x = 2^n e^r, |r| ≤ ln 2 / 2, the series of e^r to r^7. The power is applied in two factors, so that neither leaves the range. */
PV_INLINE vf vf_exp(vf x)
{
    x = vf_clamp(vf_set(-110.0f), vf_set(100.0f), x);
    const vf n = vf_round(vf_mul(x, vf_set(1.44269504088896341f)));
    vf r = vf_fnma(n, vf_set(0x1.62e4p-1f), x); /* ln 2 = 0x1.62e4p-1 + 0x1.7f7d1cf8p-20; n × the first is exact */
    r = vf_fnma(n, vf_set(0x1.7f7d1cp-20f), r);
    vf p = vf_exp_series(r);
    p = vf_fma(p, r, vf_set(1.0f));
    p = vf_fma(p, r, vf_set(1.0f));
    const vi k = vi_from_f(n), half = vi_sar(k, 1);
    return vf_mul(vf_mul(p, vf_power(half)), vf_power(vi_sub(k, half)));
}

/* tanh x = (e^2x − 1) / (e^2x + 1), within 8 ulp. e^y − 1 = 2^n (e^r − 1) + (2^n − 1) keeps small values exact; beyond ± 20 it is ± 1. */
PV_INLINE vf vf_tanh(vf x)
{
    const vf y = vf_clamp(vf_set(-40.0f), vf_set(40.0f), vf_add(x, x));
    const vf n = vf_round(vf_mul(y, vf_set(1.44269504088896341f)));
    vf r = vf_fnma(n, vf_set(0x1.62e4p-1f), y);
    r = vf_fnma(n, vf_set(0x1.7f7d1cp-20f), r);
    vf p = vf_exp_series(r);
    p = vf_fma(vf_mul(p, r), r, r);
    const vf power = vf_power(vi_from_f(n)), less_one = vf_fma(power, p, vf_sub(power, vf_set(1.0f)));
    return vf_div(less_one, vf_add(less_one, vf_set(2.0f)));
}

/* x / (1 + e^−x) */
PV_INLINE vf vf_silu(vf x)
{
    return vf_div(x, vf_add(vf_set(1.0f), vf_exp(vf_sub(vf_zero(), x))));
}

/* x / 2 (1 + tanh z) = x / (1 + e^−2z), z = √(2 / π) (x + 0.044715 x³) */
PV_INLINE vf vf_gelu(vf x)
{
    const vf z = vf_mul(x, vf_fma(vf_mul(x, x), vf_set(0.044715f * 0.797884561f), vf_set(0.797884561f)));
    return vf_div(x, vf_add(vf_set(1.0f), vf_exp(vf_mul(z, vf_set(-2.0f)))));
}

/* 1 / (1 + e^−x) */
PV_INLINE vf vf_sigmoid(vf x)
{
    return vf_div(vf_set(1.0f), vf_add(vf_set(1.0f), vf_exp(vf_sub(vf_zero(), x))));
}

PV_INLINE vf vf_activate(pv_activation kind, vf x)
{
    return kind == PV_ACTIVATION_SILU ? vf_silu(x) : kind == PV_ACTIVATION_GELU ? vf_gelu(x) : kind == PV_ACTIVATION_SIGMOID ? vf_sigmoid(x) : x;
}

PV_INLINE vf vf_glu(pv_activation kind, vf gate, vf up)
{
    if (kind != PV_ACTIVATION_CLAMPED) return vf_mul(vf_activate(kind, gate), up);
    const vf g = vf_clamp(vf_set(-3e38f), vf_set(7.0f), gate), u = vf_clamp(vf_set(-7.0f), vf_set(7.0f), up);
    const vf share = vf_add(vf_set(1.0f), vf_exp(vf_mul(g, vf_set(-1.702f))));
    return vf_mul(vf_add(u, vf_set(1.0f)), vf_div(g, share));
}

#endif
