package org.reactorvfio.irq;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import org.junit.jupiter.api.Test;
import org.reactivestreams.Subscription;
import org.reactorvfio.linux.EventFd;
import org.reactorvfio.operations.Irqs;
import reactor.core.publisher.BaseSubscriber;

/** An event allocates nothing, with all that is counted of it, and with no recording that wants to know of the loop. */
class AllocationTest extends InterruptTestBase {
  private static final int WARM_UP = 20_000;
  private static final int MEASURED = 50_000;

  @Test
  void anEventAllocatesNothing() {
    open(TestOperations.msix(2));
    run(interrupts.msix().enable(2));
    Meter oneByOne = new Meter(1, eventfd(0));
    Meter unbounded = new Meter(Long.MAX_VALUE, eventfd(1));
    interrupts.msix().vector(0).subscribe(oneByOne);
    interrupts.msix().vector(1).subscribe(unbounded);
    device.signal(Irqs.MSIX, 0);
    device.signal(Irqs.MSIX, 1);
    eventually(() -> oneByOne.done() && unbounded.done(), "all events");
    // Some kilobytes in all for whatever the JVM does on that thread: an object for each event
    // would be hundreds.
    assertThat(oneByOne.allocated).isLessThan(MEASURED);
    assertThat(unbounded.allocated).isLessThan(MEASURED);
    oneByOne.cancel();
    unbounded.cancel();
  }

  private int eventfd(int vector) {
    return ((VectorSet) interrupts.msix()).armedSource(vector).eventfd();
  }

  /** Measures what the loop's thread allocates from one element to another, each of which is the next one's signal. */
  private static final class Meter extends BaseSubscriber<Interrupt> {
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

    private final long demand;
    private final int eventfd;
    private int events;
    private long before;
    volatile long allocated = -1;

    Meter(long demand, int eventfd) {
      this.demand = demand;
      this.eventfd = eventfd;
    }

    boolean done() {
      return allocated >= 0;
    }

    @Override
    protected void hookOnSubscribe(Subscription subscription) {
      request(demand);
    }

    @Override
    protected void hookOnNext(Interrupt interrupt) {
      events++;
      if (events == WARM_UP) {
        before = THREADS.getThreadAllocatedBytes(Thread.currentThread().getId());
      } else if (events == WARM_UP + MEASURED) {
        allocated = THREADS.getThreadAllocatedBytes(Thread.currentThread().getId()) - before;
      }
      if (!done()) {
        EventFd.signal(eventfd);
      }
      if (demand == 1) {
        request(1);
      }
    }
  }
}
