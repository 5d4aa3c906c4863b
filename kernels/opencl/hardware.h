/* kernels/opencl/hardware.h: exp2 and reciprocal as the device's own instructions, some 2 ULP where lm_has_good_exp2 says so.
 *
 * NVIDIA's compiler keeps subnormal results of native_exp2 and native_recip, with four instructions more each.
 */
#ifdef __NV_CL_C_VERSION
static inline float lm_hardware_exp2(float x)
{
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}
static inline float lm_hardware_recip(float x)
{
    float result;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}
#else
#define lm_hardware_exp2 native_exp2
#define lm_hardware_recip native_recip
#endif
