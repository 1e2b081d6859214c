package org.reactorvfio.samples.nvme;

import java.nio.ByteBuffer;
import java.util.function.IntFunction;
import java.util.function.Supplier;
import reactor.core.CoreSubscriber;
import reactor.core.publisher.Mono;

/**
 * A command (NVMe 1.4, 4.2), carried out once for each subscriber. It is a {@link Mono} itself, so that one costs two objects:
 * this one, and the subscriber's {@link Request}.
 *
 * @param <T> what its answer is made into
 */
final class Command<T> extends Mono<T> {
  static final int SIZE = 64;

  // Admin commands (NVMe 1.4, 5).
  static final int DELETE_SUBMISSION_QUEUE = 0x00;
  static final int CREATE_SUBMISSION_QUEUE = 0x01;
  static final int DELETE_COMPLETION_QUEUE = 0x04;
  static final int CREATE_COMPLETION_QUEUE = 0x05;
  static final int IDENTIFY = 0x06;
  static final int ABORT = 0x08;
  static final int SET_FEATURES = 0x09;

  // I/O commands (NVMe 1.4, 6).
  static final int FLUSH = 0x00;
  static final int WRITE = 0x01;
  static final int READ = 0x02;

  private final Supplier<QueuePair> queues;
  private final boolean admin;
  private final int opcode;
  private final int namespace;
  private final long address;
  private final int bytes;
  private final int dword10;
  private final int dword11;
  private final int dword12;
  private final IntFunction<T> answer;

  private Command(
      Supplier<QueuePair> queues,
      boolean admin,
      int opcode,
      int namespace,
      long address,
      int bytes,
      int dword10,
      int dword11,
      int dword12,
      IntFunction<T> answer) {
    this.queues = queues;
    this.admin = admin;
    this.opcode = opcode;
    this.namespace = namespace;
    this.address = address;
    this.bytes = bytes;
    this.dword10 = dword10;
    this.dword11 = dword11;
    this.dword12 = dword12;
    this.answer = answer;
  }

  /** An admin command with up to one page of data; its value is the first word of the answer. */
  static Command<Integer> admin(
      Supplier<QueuePair> queues,
      int opcode,
      int namespace,
      long address,
      int dword10,
      int dword11) {
    return new Command<>(
        queues,
        true,
        opcode,
        namespace,
        address,
        address == 0 ? 0 : QueuePair.PAGE,
        dword10,
        dword11,
        0,
        Integer::valueOf);
  }

  /** A command that reads or writes blocks, or one without data. */
  static Command<Void> io(
      Supplier<QueuePair> queues,
      int opcode,
      int namespace,
      long lba,
      int blocks,
      long address,
      int bytes) {
    return new Command<>(
        queues,
        false,
        opcode,
        namespace,
        address,
        bytes,
        (int) lba,
        (int) (lba >>> 32),
        blocks - 1,
        result -> null);
  }

  @Override
  public void subscribe(CoreSubscriber<? super T> subscriber) {
    subscriber.onSubscribe(new Request<>(this, queues.get(), subscriber));
  }

  long address() {
    return address;
  }

  int bytes() {
    return bytes;
  }

  T answer(int result) {
    return answer.apply(result);
  }

  /** Writes it into an entry of the submission queue; the second data pointer depends on the slot. */
  void encode(ByteBuffer entries, int at, int slot, long secondPointer) {
    entries
        .putInt(at, opcode | slot << 16)
        .putInt(at + 4, namespace)
        .putLong(at + 8, 0)
        .putLong(at + 16, 0)
        .putLong(at + 24, address)
        .putLong(at + 32, secondPointer)
        .putInt(at + 40, dword10)
        .putInt(at + 44, dword11)
        .putInt(at + 48, dword12)
        .putInt(at + 52, 0)
        .putLong(at + 56, 0);
  }

  @Override
  public String toString() {
    if (admin) {
      return switch (opcode) {
        case DELETE_SUBMISSION_QUEUE -> "delete submission queue " + (dword10 & 0xffff);
        case CREATE_SUBMISSION_QUEUE -> "create submission queue " + (dword10 & 0xffff);
        case DELETE_COMPLETION_QUEUE -> "delete completion queue " + (dword10 & 0xffff);
        case CREATE_COMPLETION_QUEUE -> "create completion queue " + (dword10 & 0xffff);
        case IDENTIFY -> namespace == 0 ? "identify controller" : "identify namespace " + namespace;
        case ABORT -> "abort of command " + (dword10 >>> 16) + " of queue " + (dword10 & 0xffff);
        default -> "set feature " + dword10;
      };
    }
    long lba = dword11 * 0x1_0000_0000L + Integer.toUnsignedLong(dword10);
    return switch (opcode) {
      case FLUSH -> "flush";
      case WRITE -> "write of " + (dword12 + 1) + " blocks at " + lba;
      default -> "read of " + (dword12 + 1) + " blocks at " + lba;
    };
  }
}
