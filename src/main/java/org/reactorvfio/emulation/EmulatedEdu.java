package org.reactorvfio.emulation;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.reactorvfio.operations.AddressSpace;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.operations.VfioTransport;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Scheduler;
import reactor.core.scheduler.Schedulers;

/**
 * A twin of QEMU's {@code edu} device (1234:11e8; QEMU's {@code docs/specs/edu.rst} describes the real one): a driver written
 * for one works on the other.
 *
 * <p>BAR 0 has its registers: identification (0x00), liveness check that inverts (0x04), factorial (0x08), status (0x20),
 * interrupt status (0x24), raise (0x60), acknowledge (0x64), and the DMA engine (source 0x80, destination 0x88, count 0x90,
 * command 0x98) with a buffer of 4,096 bytes at 0x40000. It has INTx and one MSI vector, and no reset.
 */
public final class EmulatedEdu implements VfioTransport {
  private static final Duration REAL_DMA_TIME = Duration.ofMillis(100);
  private static final Duration FACTORIAL_TIME = Duration.ofMillis(1);
  private static final long REAL_DMA_MASK = (1L << 28) - 1;
  private static final long BAR_SIZE = 1 << 20;

  private final EmulatedDevice device;

  private EmulatedEdu(Scheduler scheduler, Duration dmaTime, long dmaMask) {
    this.device = EmulatedDevice.builder(0x1234, 0x11e8)
        .name("emulated edu")
        .classCode(0x00_ff00, 0x10)
        .subsystem(0x1af4, 0x1100)
        .registerBar(0, BAR_SIZE, edu -> new Registers(edu, scheduler, dmaTime, dmaMask))
        .intx()
        .msi(1)
        .build();
  }

  /**
   * Makes a device as the real one is by default: 100 ms for a DMA transfer, addresses of 28 bits.
   *
   * @return the device
   */
  public static EmulatedEdu create() {
    return create(Schedulers.parallel(), REAL_DMA_TIME, REAL_DMA_MASK);
  }

  /**
   * Makes a device with a clock of the caller's, such as a {@code VirtualTimeScheduler}.
   *
   * @param scheduler runs the device's own activity; it must not block
   * @param dmaTime how long a DMA transfer takes
   * @param dmaMask the address bits the device drives; higher ones are lost, so that it reaches another address
   * @return the device
   */
  public static EmulatedEdu create(Scheduler scheduler, Duration dmaTime, long dmaMask) {
    return new EmulatedEdu(scheduler, dmaTime, dmaMask);
  }

  /**
   * Returns the function that this is built on, for what a test does from the device's side: ask for the device back, unplug it.
   *
   * @return the emulated function
   */
  public EmulatedDevice function() {
    return device;
  }

  @Override
  public Mono<VfioOperations> open() {
    return device.open();
  }

  @Override
  public Mono<VfioOperations> open(AddressSpace space) {
    return device.open(space);
  }

  @Override
  public String toString() {
    return device.toString();
  }

  /** The registers. Guarded by the device's lock, which every caller of a register handler holds. */
  private static final class Registers implements RegisterHandler {
    private static final int IDENTIFICATION = 0x0100_00ed;

    private static final int LIVENESS = 0x04;
    private static final int FACTORIAL = 0x08;
    private static final int STATUS = 0x20;
    private static final int INTERRUPT_STATUS = 0x24;
    private static final int RAISE = 0x60;
    private static final int ACKNOWLEDGE = 0x64;
    private static final int DMA_SOURCE = 0x80;
    private static final int DMA_DESTINATION = 0x88;
    private static final int DMA_COUNT = 0x90;
    private static final int DMA_COMMAND = 0x98;

    private static final int STATUS_COMPUTING = 0x01;
    private static final int STATUS_INTERRUPT = 0x80;
    private static final int DMA_RUN = 0x01;
    private static final int DMA_TO_MEMORY = 0x02;
    private static final int DMA_INTERRUPT = 0x04;
    private static final int INTERRUPT_FACTORIAL = 0x001;
    private static final int INTERRUPT_DMA = 0x100;

    private static final long BUFFER = 0x40000;
    private static final int BUFFER_SIZE = 4096;

    private final EmulatedDevice device;
    private final Scheduler scheduler;
    private final Duration dmaTime;
    private final long dmaMask;
    private final ByteBuffer buffer = ByteBuffer.allocate(BUFFER_SIZE);

    private int liveness;
    private int factorial;
    private int status;
    private int interrupts;
    private long source;
    private long destination;
    private long count;
    private long command;

    Registers(EmulatedDevice device, Scheduler scheduler, Duration dmaTime, long dmaMask) {
      this.device = device;
      this.scheduler = scheduler;
      this.dmaTime = dmaTime;
      this.dmaMask = dmaMask;
    }

    private static boolean legal(long offset, int width) {
      return width == 4 || (width == 8 && offset >= DMA_SOURCE);
    }

    @Override
    public long read(long offset, int width) {
      if (!legal(offset, width) || offset > DMA_COMMAND) {
        return -1;
      }
      return switch ((int) offset) {
        case 0 -> IDENTIFICATION;
        case LIVENESS -> liveness;
        case FACTORIAL -> factorial;
        case STATUS -> status;
        case INTERRUPT_STATUS -> interrupts;
        case DMA_SOURCE -> source;
        case DMA_DESTINATION -> destination;
        case DMA_COUNT -> count;
        case DMA_COMMAND -> command;
        default -> -1;
      };
    }

    @Override
    public void write(long offset, int width, long value) {
      if (!legal(offset, width) || offset > DMA_COMMAND) {
        return;
      }
      boolean idle = (command & DMA_RUN) == 0;
      switch ((int) offset) {
        case LIVENESS -> liveness = (int) ~value;
        case FACTORIAL -> compute((int) value);
        case STATUS -> status = (status & ~STATUS_INTERRUPT) | ((int) value & STATUS_INTERRUPT);
        case RAISE -> raise((int) value);
        case ACKNOWLEDGE -> acknowledge((int) value);
        case DMA_SOURCE -> source = idle ? value : source;
        case DMA_DESTINATION -> destination = idle ? value : destination;
        case DMA_COUNT -> count = idle ? value : count;
        case DMA_COMMAND -> transfer(value);
        default -> {
          // Nothing is there: the real device ignores it too.
        }
      }
    }

    private void compute(int number) {
      if ((status & STATUS_COMPUTING) != 0) {
        return;
      }
      status |= STATUS_COMPUTING;
      factorial = number;
      later(FACTORIAL_TIME, () -> {
        int result = 1;
        // Beyond 33 every further factor leaves 32 zero bits; the device multiplies on all the
        // same.
        for (int n = Math.min(number, 34); n > 0; n--) {
          result *= n;
        }
        factorial = Integer.compareUnsigned(number, 34) > 0 ? 0 : result;
        status &= ~STATUS_COMPUTING;
        if ((status & STATUS_INTERRUPT) != 0) {
          raise(INTERRUPT_FACTORIAL);
        }
      });
    }

    private void transfer(long value) {
      if ((value & DMA_RUN) == 0 || (command & DMA_RUN) != 0) {
        return;
      }
      command = value;
      later(dmaTime, () -> {
        boolean toMemory = (command & DMA_TO_MEMORY) != 0;
        long at = (toMemory ? source : destination) - BUFFER;
        // A range outside of the buffer stops QEMU; here it moves nothing.
        if (at >= 0 && count >= 0 && count <= BUFFER_SIZE - at) {
          ByteBuffer window = buffer.slice((int) at, (int) count);
          if (toMemory) {
            device.writeMemory(destination & dmaMask, window);
          } else {
            device.readMemory(source & dmaMask, window);
          }
        }
        command &= ~(long) DMA_RUN;
        if ((command & DMA_INTERRUPT) != 0) {
          raise(INTERRUPT_DMA);
        }
      });
    }

    /** The device's own activity, beside the driver. */
    private void later(Duration delay, Runnable activity) {
      scheduler.schedule(
          () -> {
            synchronized (device.lock()) {
              activity.run();
            }
          },
          delay.toNanos(),
          TimeUnit.NANOSECONDS);
    }

    private void raise(int bits) {
      interrupts |= bits;
      if (interrupts == 0) {
        return;
      }
      if (device.msiEnabled()) {
        device.raiseMsi(0);
      } else {
        device.assertIntx(true);
      }
    }

    private void acknowledge(int bits) {
      interrupts &= ~bits;
      if (interrupts == 0 && !device.msiEnabled()) {
        device.assertIntx(false);
      }
    }
  }
}
