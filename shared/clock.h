// The one clock: for times in metrics and talk, never for a decision.
#ifndef ZK_SHARED_CLOCK_H
#define ZK_SHARED_CLOCK_H

// Seconds since some moment in the past; never goes back.
double zk_clock_s(void);

#endif
