package org.reactorvfio.diagnostics;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import org.reactorvfio.VfioException;
import org.reactorvfio.kernel.KernelErrors;
import org.reactorvfio.linux.Errno;
import org.reactorvfio.linux.LinuxException;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.DmaMapping;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.Operation;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.vendor.DeviceIdentity;
import org.reactorvfio.vendor.DeviceMatch;
import org.reactorvfio.vendor.VendorOperator;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;

/**
 * Makes operations fail, wait or fall short as a real device or kernel might, to see what an application or another operator makes
 * of it. Named last among {@link org.reactorvfio.VfioOptions#withOperators}, it stands between the application and all operators;
 * named before an operator, between that one and the core.
 *
 * <p>Faults can be added at any time and by any thread; all that apply to a call take effect. Calls are counted by subscription,
 * those of all devices together: have one of these for each device. Interrupts and accesses to mapped regions are no operations and
 * know no faults.
 */
public final class Faults implements VendorOperator<Object> {
  /** In place of a call's number: every call from now on. */
  public static final int EVERY = 0;

  private final List<Rule> rules = new CopyOnWriteArrayList<>();
  private final Map<Operation, Long> calls = new ConcurrentHashMap<>();
  private volatile boolean lost;

  private Faults() {}

  /** What happens at a call: at each, if {@code call} is EVERY. */
  private record Rule(Operation operation, long call, Effect effect) {
    boolean applies(Operation which, long number) {
      return which == operation && (call == EVERY || call == number);
    }
  }

  /** Something that happens to a call. */
  private interface Effect {
    <T> Mono<T> on(Call<T> call);
  }

  /** A call that nobody has subscribed to yet. */
  private record Call<T>(
      VfioOperations core, Operation operation, Mono<T> passed, List<Object> arguments) {
    Call<T> with(Mono<T> instead) {
      return new Call<>(core, operation, instead, arguments);
    }
  }

  /**
   * Makes an operator that does nothing yet.
   *
   * @return the operator
   */
  public static Faults none() {
    return new Faults();
  }

  /**
   * Has a call fail as if the kernel had refused it: the core is not asked.
   *
   * @param operation which operation
   * @param call which call of it from now on: 1 is the next, {@link #EVERY} is every one
   * @param errno the kernel's error number, from 1; the failure has the type and message that it has on a kernel device
   * @return this
   */
  public Faults fail(Operation operation, int call, int errno) {
    if (errno <= 0) {
      throw new IllegalArgumentException(errno + " is no error number");
    }
    return add(operation, call, new Effect() {
      @Override
      public <T> Mono<T> on(Call<T> refused) {
        return refusal(refused, errno);
      }
    });
  }

  /**
   * Has a call wait before it is passed on. Those that come meanwhile overtake it.
   *
   * @param operation which operation
   * @param call which call of it from now on: 1 is the next, {@link #EVERY} is every one
   * @param duration how long
   * @return this
   */
  public Faults delay(Operation operation, int call, Duration duration) {
    return add(operation, call, new Effect() {
      @Override
      public <T> Mono<T> on(Call<T> waiting) {
        return Mono.delay(duration).then(waiting.passed());
      }
    });
  }

  /**
   * Has a call of {@link Operation#READ} or {@link Operation#WRITE} move fewer bytes than it is asked for.
   *
   * @param operation which of the two
   * @param call which call of it from now on: 1 is the next, {@link #EVERY} is every one
   * @param bytes how many bytes it moves at most
   * @return this
   */
  public Faults shorten(Operation operation, int call, int bytes) {
    if (operation != Operation.READ && operation != Operation.WRITE) {
      throw new IllegalArgumentException(operation + " moves no bytes");
    }
    if (bytes < 0) {
      throw new IllegalArgumentException(bytes + " bytes");
    }
    return add(operation, call, new Effect() {
      @Override
      @SuppressWarnings("unchecked") // both operations give the number of bytes
      public <T> Mono<T> on(Call<T> moving) {
        return (Mono<T>) shortened(moving, bytes);
      }
    });
  }

  /**
   * Has the device vanish: from this call on, every operation but {@link Operation#CLOSE} fails with {@link
   * org.reactorvfio.DeviceLostException}.
   *
   * @param operation which operation
   * @param call which call of it from now on: 1 is the next
   * @return this
   */
  public Faults lose(Operation operation, int call) {
    return add(operation, call, new Effect() {
      @Override
      public <T> Mono<T> on(Call<T> last) {
        lost = true;
        return refusal(last, Errno.ENODEV);
      }
    });
  }

  /**
   * Takes all faults away; a device that vanished is back.
   *
   * @return this
   */
  public Faults clear() {
    rules.clear();
    lost = false;
    return this;
  }

  /**
   * Tells how often an operation was called.
   *
   * @param operation which operation
   * @return the number of subscriptions so far
   */
  public long calls(Operation operation) {
    return calls.getOrDefault(operation, 0L);
  }

  private Faults add(Operation operation, int call, Effect effect) {
    if (call < EVERY) {
      throw new IllegalArgumentException("call " + call);
    }
    long number = call == EVERY ? EVERY : calls(operation) + call;
    rules.add(new Rule(operation, number, effect));
    return this;
  }

  private static Mono<Integer> shortened(Call<?> call, int bytes) {
    int region = (Integer) call.arguments().get(0);
    long offset = (Long) call.arguments().get(1);
    ByteBuffer whole = (ByteBuffer) call.arguments().get(2);
    int count = Math.min(bytes, whole.remaining());
    ByteBuffer part = whole.duplicate().limit(whole.position() + count).order(whole.order());
    Mono<Integer> moved = call.operation() == Operation.READ
        ? call.core().read(region, offset, part)
        : call.core().write(region, offset, part);
    return (count == 0 ? Mono.just(0) : moved).doOnNext(n -> whole.position(whole.position() + n));
  }

  /** Fails on a thread that may block, as a call of the kernel does. */
  private static <T> Mono<T> refusal(Call<T> call, int errno) {
    return Mono.<T>error(() -> failure(call, errno)).subscribeOn(Schedulers.boundedElastic());
  }

  private static VfioException failure(Call<?> call, int errno) {
    String device = call.core().name();
    LinuxException e = new LinuxException(request(call.operation()), errno);
    return switch (call.operation()) {
      case MAP_DMA -> KernelErrors.ofMap(device, ((DmaMapping) call.arguments().get(0)).size(), e);
      case FEATURE ->
        errno == Errno.ENOTTY
            ? KernelErrors.noFeature(
                device, ((FeatureRequest) call.arguments().get(0)).feature(), e)
            : KernelErrors.of(device, e);
      default -> KernelErrors.of(device, e);
    };
  }

  /** What the kernel knows an operation as. */
  private static String request(Operation operation) {
    return switch (operation) {
      case READ -> "pread";
      case WRITE -> "pwrite";
      case MAP -> "mmap";
      case DEVICE_INFO -> "VFIO_DEVICE_GET_INFO";
      case REGION_INFO -> "VFIO_DEVICE_GET_REGION_INFO";
      case IRQ_INFO -> "VFIO_DEVICE_GET_IRQ_INFO";
      case SET_IRQS -> "VFIO_DEVICE_SET_IRQS";
      case RESET -> "VFIO_DEVICE_RESET";
      case HOT_RESET_INFO -> "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO";
      case HOT_RESET -> "VFIO_DEVICE_PCI_HOT_RESET";
      case FEATURE -> "VFIO_DEVICE_FEATURE";
      case IO_EVENT_FD -> "VFIO_DEVICE_IOEVENTFD";
      default -> operation.method();
    };
  }

  @Override
  public String name() {
    return "faults";
  }

  @Override
  public Class<Object> type() {
    return Object.class;
  }

  @Override
  public List<DeviceMatch> matches() {
    return List.of(DeviceMatch.any());
  }

  @Override
  public Mono<Object> probe(VfioOperations core, DeviceIdentity identity) {
    return Mono.just(this);
  }

  @Override
  public VfioOperations compose(VfioOperations core, Object state) {
    return new DelegatingOperations(core) {
      @Override
      protected <T> Mono<T> around(Operation operation, Mono<T> call, Object... arguments) {
        return Mono.defer(() -> afflicted(new Call<>(core(), operation, call, List.of(arguments))));
      }
    };
  }

  private <T> Mono<T> afflicted(Call<T> call) {
    long number = calls.merge(call.operation(), 1L, Long::sum);
    if (lost && call.operation() != Operation.CLOSE) {
      return refusal(call, Errno.ENODEV);
    }
    Call<T> result = call;
    for (Rule rule : rules) {
      if (rule.applies(call.operation(), number)) {
        result = result.with(rule.effect().on(result));
      }
    }
    return result.passed();
  }
}
