package org.reactorvfio.contract;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;
import static org.reactorvfio.linux.Errno.EBADF;
import static org.reactorvfio.linux.Errno.EBUSY;
import static org.reactorvfio.linux.Errno.EINVAL;
import static org.reactorvfio.linux.Errno.ENOTTY;
import static org.reactorvfio.linux.Errno.ERANGE;
import static org.reactorvfio.operations.IrqSet.assign;
import static org.reactorvfio.operations.IrqSet.disable;
import static org.reactorvfio.operations.IrqSet.of;
import static org.reactorvfio.operations.IrqSet.unmaskBy;
import static org.reactorvfio.operations.IrqSet.where;
import static org.reactorvfio.operations.Irqs.ERR;
import static org.reactorvfio.operations.Irqs.INTX;
import static org.reactorvfio.operations.Irqs.MSI;
import static org.reactorvfio.operations.Irqs.MSIX;
import static org.reactorvfio.operations.Irqs.REQ;

import java.time.Duration;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.IrqSet;
import org.reactorvfio.operations.IrqSet.Action;
import org.reactorvfio.operations.VfioTransport;

/**
 * VFIO_DEVICE_SET_IRQS as vfio-pci answers it: which requests are legal in which state, the error number of those that are not,
 * and what a failed one leaves behind. For a PCI Express function with INTx, MSI, and MSI-X of at least 4 vectors, whose registers
 * nobody programs: every signal is a loopback.
 */
public abstract class SetIrqsContract {
  private static final Duration LIMIT = Duration.ofSeconds(30);
  private static final int INTX_DISABLE = 1 << 10;

  private IrqProbe device;

  /** A transport to the device. */
  protected abstract VfioTransport transport();

  /** Whether a line can be unmasked by an eventfd: not one of another process. */
  protected boolean unmasksByEventfd() {
    return true;
  }

  @BeforeEach
  final void open() {
    device = new IrqProbe(transport().open().block(LIMIT));
  }

  @AfterEach
  final void close() {
    if (device != null) {
      device.close();
    }
  }

  /** A sequence of requests, by what it shows. */
  public record Row(String name, Consumer<IrqProbe> steps) {
    @Override
    public String toString() {
      return name;
    }
  }

  private static Row row(String name, Consumer<IrqProbe> steps) {
    return new Row(name, steps);
  }

  private static IrqSet trigger(int index, int start, int count) {
    return of(index, Action.TRIGGER, start, count);
  }

  @ParameterizedTest
  @MethodSource({"anyIndex", "line", "messages", "messageBlocks", "exclusion", "singles"})
  void answersAsVfioPci(Row row) {
    assumeTrue(unmasksByEventfd() || !row.name().contains("unmask"), "no eventfd reaches the mask");
    row.steps().accept(device);
  }

  static Stream<Row> anyIndex() {
    return Stream.of(
        row(
            "an index that does not exist",
            d -> d.refuses(EINVAL, disable(5)).refuses(EINVAL, assign(5, 0, d.eventfd()))),
        row("a start beyond the last vector, even of no vectors", d -> {
          int count = d.info(MSIX).count();
          d.refuses(EINVAL, trigger(MSIX, count, 0));
          d.refuses(EINVAL, assign(MSIX, count));
          d.accepts(assign(MSIX, 0, d.eventfd())).refuses(EINVAL, trigger(MSIX, count, 0));
        }),
        row("a range beyond the last vector", d -> {
          int count = d.info(MSIX).count();
          d.refuses(EINVAL, assign(MSIX, count - 1, d.eventfds(2)));
          d.refuses(EINVAL, assign(MSIX, 0, d.eventfds(count + 1)));
          d.refuses(EINVAL, assign(INTX, 0, d.eventfds(2)));
        }),
        row(
            "the range is looked at before the action",
            d -> d.refuses(EINVAL, of(MSIX, Action.MASK, d.info(MSIX).count(), 1))
                .refuses(ENOTTY, of(MSIX, Action.MASK, 0, 1))));
  }

  static Stream<Row> line() {
    return Stream.of(
        row("enable, fire, disable", d -> {
          int a = d.eventfd();
          d.accepts(assign(INTX, 0, a)).accepts(trigger(INTX, 0, 1)).counted(1, a);
          d.accepts(where(INTX, Action.TRIGGER, 0, true)).counted(1, a);
          d.accepts(where(INTX, Action.TRIGGER, 0, false)).counted(0, a);
          d.accepts(disable(INTX)).refuses(EINVAL, trigger(INTX, 0, 1)).counted(0, a);
        }),
        row(
            "nothing but enabling while it is not enabled, unmasking by eventfd neither",
            d -> d.refuses(EINVAL, disable(INTX))
                .refuses(EINVAL, trigger(INTX, 0, 1))
                .refuses(EINVAL, where(INTX, Action.TRIGGER, 0, true))
                .refuses(EINVAL, of(INTX, Action.MASK, 0, 1))
                .refuses(EINVAL, of(INTX, Action.UNMASK, 0, 1))
                .refuses(EINVAL, unmaskBy(INTX, 0, d.eventfd()))
                .refuses(EINVAL, unmaskBy(INTX, 0, -1))),
        row("enable without an eventfd", d -> {
          int a = d.eventfd();
          d.accepts(assign(INTX, 0, -1)).refuses(EINVAL, assign(MSIX, 0, a));
          d.accepts(trigger(INTX, 0, 1)).accepts(assign(INTX, 0, a)).counted(0, a);
          d.accepts(trigger(INTX, 0, 1)).counted(1, a).accepts(disable(INTX));
        }),
        row("another eventfd, and none", d -> {
          int a = d.eventfd();
          int b = d.eventfd();
          d.accepts(assign(INTX, 0, a)).accepts(assign(INTX, 0, b)).accepts(trigger(INTX, 0, 1));
          d.counted(0, a).counted(1, b);
          d.accepts(assign(INTX, 0, -1)).accepts(trigger(INTX, 0, 1)).counted(0, b);
          d.accepts(of(INTX, Action.MASK, 0, 1)).accepts(disable(INTX));
        }),
        row("a descriptor that is none leaves the line as it was", d -> {
          int a = d.eventfd();
          d.refuses(EBADF, assign(INTX, 0, d.closed())).refuses(EINVAL, disable(INTX));
          d.refuses(EINVAL, assign(INTX, 0, d.file())).refuses(EINVAL, disable(INTX));
          d.accepts(assign(INTX, 0, a));
          d.refuses(EBADF, assign(INTX, 0, d.closed())).refuses(EINVAL, assign(INTX, 0, d.file()));
          d.accepts(trigger(INTX, 0, 1)).counted(1, a);
        }),
        row("mask, and the opposite, twice each", d -> {
          int a = d.eventfd();
          d.accepts(assign(INTX, 0, a));
          for (Action action : new Action[] {Action.MASK, Action.UNMASK}) {
            d.accepts(of(INTX, action, 0, 1)).accepts(of(INTX, action, 0, 1));
            d.accepts(where(INTX, action, 0, false)).accepts(where(INTX, action, 0, true));
          }
          d.counted(0, a);
          d.refuses(EINVAL, of(INTX, Action.MASK, 0, 0))
              .refuses(EINVAL, of(INTX, Action.UNMASK, 0, 0));
        }),
        row("firing ignores the mask", d -> {
          int a = d.eventfd();
          d.accepts(assign(INTX, 0, a)).accepts(of(INTX, Action.MASK, 0, 1));
          d.accepts(trigger(INTX, 0, 1)).accepts(trigger(INTX, 0, 1)).counted(2, a);
        }),
        row("firing minds the interrupt disable bit", d -> {
          int a = d.eventfd();
          d.accepts(assign(INTX, 0, a));
          d.command(0, INTX_DISABLE);
          d.accepts(trigger(INTX, 0, 1)).counted(0, a);
          d.command(INTX_DISABLE, 0);
          d.accepts(trigger(INTX, 0, 1)).counted(1, a);
        }),
        row("unmask by eventfd: one at a time", d -> {
          int unmask = d.eventfd();
          d.accepts(assign(INTX, 0, d.eventfd()));
          d.accepts(unmaskBy(INTX, 0, -1)).accepts(unmaskBy(INTX, 0, unmask));
          d.refuses(EBUSY, unmaskBy(INTX, 0, unmask))
              .refuses(EBUSY, unmaskBy(INTX, 0, d.eventfd()));
          d.accepts(unmaskBy(INTX, 0, -1)).accepts(unmaskBy(INTX, 0, -1));
          d.accepts(unmaskBy(INTX, 0, d.eventfd()));
        }),
        row("unmask by what is no eventfd", d -> {
          d.accepts(assign(INTX, 0, d.eventfd()));
          d.refuses(EBADF, unmaskBy(INTX, 0, d.closed()))
              .refuses(EINVAL, unmaskBy(INTX, 0, d.file()));
          d.accepts(unmaskBy(INTX, 0, d.eventfd()));
        }),
        row("disabling forgets the unmask eventfd", d -> {
          d.accepts(assign(INTX, 0, d.eventfd())).accepts(unmaskBy(INTX, 0, d.eventfd()));
          d.accepts(disable(INTX)).accepts(assign(INTX, 0, d.eventfd()));
          d.accepts(unmaskBy(INTX, 0, d.eventfd()));
        }));
  }

  /** The rules that MSI and MSI-X share. */
  static Stream<Row> messages() {
    return IntStream.of(MSI, MSIX).boxed().flatMap(index -> {
      String name = index == MSI ? "MSI: " : "MSI-X: ";
      return Stream.of(
          row(name + "enable, fire, disable", d -> {
            int a = d.eventfd();
            d.accepts(assign(index, 0, a)).accepts(trigger(index, 0, 1)).counted(1, a);
            d.accepts(where(index, Action.TRIGGER, 0, true)).counted(1, a);
            d.accepts(where(index, Action.TRIGGER, 0, false)).counted(0, a);
            d.accepts(disable(index)).refuses(EINVAL, trigger(index, 0, 1)).counted(0, a);
          }),
          row(
              name + "while it is not enabled",
              d -> d.refuses(EINVAL, disable(index))
                  .refuses(EINVAL, trigger(index, 0, 1))
                  .refuses(EINVAL, where(index, Action.TRIGGER, 0, true))
                  .refuses(EINVAL, where(index, Action.TRIGGER, 0))
                  .refuses(ERANGE, assign(index, 0))),
          row(name + "no vectors while it is enabled", d -> {
            int a = d.eventfd();
            d.accepts(assign(index, 0, a));
            d.accepts(assign(index, 0)).accepts(where(index, Action.TRIGGER, 0));
            d.accepts(trigger(index, 0, 1)).counted(1, a);
          }),
          row(name + "enable without eventfds", d -> {
            int a = d.eventfd();
            d.accepts(assign(index, 0, -1)).accepts(trigger(index, 0, 1));
            d.accepts(assign(index, 0, a)).accepts(trigger(index, 0, 1)).counted(1, a);
          }),
          row(name + "any negative number is no eventfd", d -> {
            int a = d.eventfd();
            d.accepts(assign(index, 0, -7)).accepts(assign(index, 0, a));
            d.accepts(assign(index, 0, Integer.MIN_VALUE))
                .accepts(trigger(index, 0, 1))
                .counted(0, a);
          }),
          row(name + "another eventfd", d -> {
            int a = d.eventfd();
            int b = d.eventfd();
            d.accepts(assign(index, 0, a)).accepts(assign(index, 0, b));
            d.accepts(trigger(index, 0, 1)).counted(0, a).counted(1, b);
          }),
          row(name + "vectors cannot be masked", d -> {
            d.refuses(ENOTTY, of(index, Action.MASK, 0, 1));
            d.accepts(assign(index, 0, d.eventfd()));
            d.refuses(ENOTTY, of(index, Action.MASK, 0, 1))
                .refuses(ENOTTY, of(index, Action.UNMASK, 0, 1));
            d.refuses(ENOTTY, unmaskBy(index, 0, d.eventfd()));
          }),
          row(name + "a bad descriptor at first leaves it disabled", d -> {
            d.refuses(EBADF, assign(index, 0, d.closed())).refuses(EINVAL, disable(index));
            d.refuses(EINVAL, assign(index, 0, d.file())).refuses(EINVAL, disable(index));
            d.accepts(assign(INTX, 0, d.eventfd()));
          }),
          row(name + "a bad descriptor later tears the vector down", d -> {
            int a = d.eventfd();
            d.accepts(assign(index, 0, a)).refuses(EBADF, assign(index, 0, d.closed()));
            d.accepts(trigger(index, 0, 1)).counted(0, a).accepts(disable(index));
          }),
          row(name + "the device keeps a reference of its own", d -> {
            int a = d.eventfd();
            d.accepts(assign(index, 0, a));
            d.close(a);
            d.accepts(trigger(index, 0, 1)).accepts(disable(index));
          }),
          row(name + "assignments survive a reset", d -> {
            assumeTrue(d.resettable(), "the device has no reset");
            int a = d.eventfd();
            d.accepts(assign(index, 0, a));
            d.reset();
            d.accepts(trigger(index, 0, 1)).counted(1, a);
          }));
    });
  }

  /** What only shows with several vectors. */
  static Stream<Row> messageBlocks() {
    return Stream.of(
        row("fire a range, some of it, and empty slots", d -> {
          int[] fds = d.eventfds(4);
          d.accepts(assign(MSIX, 0, fds[0], -1, fds[2], fds[3])).accepts(trigger(MSIX, 0, 4));
          d.counted(1, fds[0]).counted(1, fds[2]).counted(1, fds[3]);
          d.accepts(where(MSIX, Action.TRIGGER, 0, false, true, true, false));
          d.counted(0, fds[0]).counted(1, fds[2]).counted(0, fds[3]);
          d.accepts(trigger(MSIX, 3, 1)).counted(1, fds[3]).counted(0, fds[0]);
        }),
        row("a bad descriptor in the first block leaves nothing", d -> {
          int[] fds = d.eventfds(4);
          d.refuses(EBADF, assign(MSIX, 0, fds[0], fds[1], d.closed(), fds[3]));
          d.refuses(EINVAL, trigger(MSIX, 0, 1)).refuses(EINVAL, disable(MSIX));
          d.accepts(assign(MSIX, 0, fds)).accepts(trigger(MSIX, 0, 4));
          for (int fd : fds) {
            d.counted(1, fd);
          }
        }),
        row("a bad descriptor in a later block tears down up to there, and no other", d -> {
          int[] fds = d.eventfds(4);
          int[] others = d.eventfds(3);
          d.accepts(assign(MSIX, 0, fds));
          d.refuses(EINVAL, assign(MSIX, 0, others[0], others[1], d.file()));
          d.accepts(trigger(MSIX, 0, 4)).counted(1, fds[3]);
          for (int i = 0; i < 3; i++) {
            d.counted(0, fds[i]).counted(0, others[i]);
          }
          d.accepts(assign(MSIX, 1, others[1])).accepts(trigger(MSIX, 1, 1)).counted(1, others[1]);
        }),
        row("a bad descriptor behind a block's start spares what is before it", d -> {
          int[] fds = d.eventfds(4);
          d.accepts(assign(MSIX, 0, fds)).refuses(EBADF, assign(MSIX, 2, d.eventfd(), d.closed()));
          d.accepts(trigger(MSIX, 0, 4));
          d.counted(1, fds[0]).counted(1, fds[1]).counted(0, fds[2]).counted(0, fds[3]);
        }),
        row("one eventfd for several vectors adds them up", d -> {
          int a = d.eventfd();
          d.accepts(assign(MSIX, 0, a, a, a)).accepts(trigger(MSIX, 0, 3)).counted(3, a);
        }),
        row("enabling from a later vector allocates those before it", d -> {
          int[] fds = d.eventfds(2);
          d.accepts(assign(MSIX, 2, fds[0])).accepts(trigger(MSIX, 0, 3)).counted(1, fds[0]);
          d.accepts(assign(MSIX, 0, fds[1])).accepts(trigger(MSIX, 0, 1)).counted(1, fds[1]);
        }),
        row("growing while enabled, where the kernel can", d -> {
          int[] fds = d.eventfds(4);
          d.accepts(assign(MSIX, 0, fds[0]));
          IrqSet more = assign(MSIX, 1, fds[1], fds[2], fds[3]);
          if (d.info(MSIX).resizable()) {
            d.accepts(more).accepts(trigger(MSIX, 0, 4));
            for (int fd : fds) {
              d.counted(1, fd);
            }
          } else {
            d.refuses(EINVAL, more).accepts(trigger(MSIX, 0, 1)).counted(1, fds[0]);
          }
        }),
        row("slots that were allocated empty are filled later", d -> {
          int[] fds = d.eventfds(4);
          d.accepts(assign(MSIX, 0, -1, -1, -1, -1));
          for (int i = 3; i >= 0; i--) {
            d.accepts(assign(MSIX, i, fds[i])).accepts(trigger(MSIX, i, 1)).counted(1, fds[i]);
          }
        }),
        row("detaching one vector", d -> {
          int[] fds = d.eventfds(3);
          d.accepts(assign(MSIX, 0, fds)).accepts(assign(MSIX, 1, -1)).accepts(trigger(MSIX, 0, 3));
          d.counted(1, fds[0]).counted(0, fds[1]).counted(1, fds[2]);
        }));
  }

  static Stream<Row> exclusion() {
    int[] indices = {INTX, MSI, MSIX};
    return IntStream.of(indices)
        .boxed()
        .flatMap(on -> IntStream.of(indices)
            .filter(other -> other != on)
            .mapToObj(other -> row("index " + on + " excludes index " + other, d -> {
              int a = d.eventfd();
              int b = d.eventfd();
              d.accepts(assign(on, 0, a));
              d.refuses(EINVAL, assign(other, 0, b)).refuses(EINVAL, assign(other, 0, -1));
              d.refuses(EINVAL, disable(other)).refuses(EINVAL, trigger(other, 0, 1));
              d.refuses(EINVAL, where(other, Action.TRIGGER, 0)).refuses(EINVAL, assign(other, 0));
              d.accepts(trigger(on, 0, 1)).counted(1, a);
              d.accepts(disable(on)).accepts(assign(other, 0, b)).accepts(trigger(other, 0, 1));
              d.counted(1, b).counted(0, a);
            })));
  }

  static Stream<Row> singles() {
    return IntStream.of(ERR, REQ).boxed().flatMap(index -> {
      String name = index == ERR ? "ERR: " : "REQ: ";
      return Stream.of(
          row(name + "set, fire, replace, clear", d -> {
            int a = d.eventfd();
            int b = d.eventfd();
            d.accepts(assign(index, 0, a)).accepts(trigger(index, 0, 1)).counted(1, a);
            d.accepts(where(index, Action.TRIGGER, 0, true)).counted(1, a);
            d.accepts(where(index, Action.TRIGGER, 0, false)).counted(0, a);
            d.accepts(assign(index, 0, b))
                .accepts(trigger(index, 0, 1))
                .counted(0, a)
                .counted(1, b);
            d.accepts(disable(index)).refuses(EINVAL, trigger(index, 0, 1)).counted(0, b);
          }),
          row(
              name + "while it is not set",
              d -> d.refuses(EINVAL, trigger(index, 0, 1))
                  .refuses(EINVAL, disable(index))
                  .accepts(where(index, Action.TRIGGER, 0, true))
                  .accepts(assign(index, 0, -1))
                  .accepts(assign(index, 0, -1))),
          row(
              name + "numbers that are legal elsewhere",
              d -> d.refuses(EINVAL, assign(index, 0, -2))
                  .refuses(EINVAL, assign(index, 0))
                  .refuses(EINVAL, where(index, Action.TRIGGER, 0))
                  .refuses(EINVAL, assign(index, 0, d.eventfds(2)))
                  .refuses(EINVAL, assign(index, 1, d.eventfd()))),
          row(name + "a bad descriptor leaves it as it was", d -> {
            int a = d.eventfd();
            d.accepts(assign(index, 0, a)).refuses(EBADF, assign(index, 0, d.closed()));
            d.refuses(EINVAL, assign(index, 0, d.file()));
            d.accepts(trigger(index, 0, 1)).counted(1, a);
          }),
          row(name + "cannot be masked", d -> {
            d.accepts(assign(index, 0, d.eventfd()));
            d.refuses(ENOTTY, of(index, Action.MASK, 0, 1))
                .refuses(ENOTTY, of(index, Action.UNMASK, 0, 1));
            d.refuses(ENOTTY, unmaskBy(index, 0, d.eventfd()));
          }),
          row(name + "beside MSI-X", d -> {
            int a = d.eventfd();
            int b = d.eventfd();
            d.accepts(assign(MSIX, 0, a)).accepts(assign(index, 0, b));
            d.accepts(trigger(MSIX, 0, 1))
                .accepts(trigger(index, 0, 1))
                .counted(1, a)
                .counted(1, b);
          }));
    });
  }

  @Test
  void describesItsIndices() {
    int eventfd = IrqInfo.FLAG_EVENTFD;
    int fixed = eventfd | IrqInfo.FLAG_NORESIZE;
    assertThat(device.info(INTX))
        .isEqualTo(new IrqInfo(INTX, eventfd | IrqInfo.FLAG_MASKABLE | IrqInfo.FLAG_AUTOMASKED, 1));
    assertThat(device.info(MSI).flags()).isEqualTo(fixed);
    assertThat(device.info(MSIX).flags()).isIn(eventfd, fixed);
    assertThat(device.info(MSIX).count()).isGreaterThanOrEqualTo(4);
    assertThat(device.info(ERR)).isEqualTo(new IrqInfo(ERR, fixed, 1));
    assertThat(device.info(REQ)).isEqualTo(new IrqInfo(REQ, fixed, 1));
  }

  @Test
  void forgetsEverythingWhenItIsClosed() {
    int a = device.eventfd();
    device.accepts(assign(MSIX, 0, a)).accepts(assign(REQ, 0, a));
    IrqProbe first = device;
    device = null;
    first.close();
    open();
    device.refuses(EINVAL, disable(MSIX)).refuses(EINVAL, disable(REQ));
    device.accepts(assign(INTX, 0, device.eventfd()));
  }
}
