package org.reactorvfio.linux;

import com.sun.jna.Function;
import com.sun.jna.NativeLibrary;
import java.lang.ref.Reference;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * Has the kernel refuse a system call to the calling thread from now on, as a container's rules (seccomp) do: to no other thread,
 * but for those that it starts.
 */
public final class SystemCallFilter {
  public static final int IO_URING_SETUP = ReadBatch.SYS_IO_URING_SETUP;
  public static final int IO_URING_ENTER = ReadBatch.SYS_IO_URING_ENTER;

  private static final int PR_SET_SECCOMP = 22;
  private static final int PR_SET_NO_NEW_PRIVS = 38;
  private static final long SECCOMP_MODE_FILTER = 2;

  private static final int LOAD_WORD = 0x20;
  private static final int JUMP_IF_EQUAL = 0x15;
  private static final int RETURN = 0x06;
  private static final int SECCOMP_RET_ERRNO = 0x00050000;
  private static final int SECCOMP_RET_ALLOW = 0x7fff0000;

  // struct seccomp_data: nr, arch, instruction_pointer, args[6].
  private static final int NUMBER = 0;
  private static final int ARGUMENTS = 16;

  private static final int MMAP = 9;

  private SystemCallFilter() {}

  /** Refuses a system call. */
  public static void refuse(int number, int errno) {
    install(program(4)
        .putInt(LOAD_WORD)
        .putInt(NUMBER)
        .put(jump(1))
        .putInt(number)
        .putInt(RETURN)
        .putInt(SECCOMP_RET_ERRNO | errno)
        .putInt(RETURN)
        .putInt(SECCOMP_RET_ALLOW));
  }

  /** Refuses to map the requests of an io_uring. */
  public static void refuseRequestsOfIoUring(int errno) {
    install(program(6)
        .putInt(LOAD_WORD)
        .putInt(NUMBER)
        .put(jump(3))
        .putInt(MMAP)
        .putInt(LOAD_WORD)
        .putInt(ARGUMENTS + 8 * 5)
        .put(jump(1))
        .putInt(ReadBatch.OFFSET_SQES)
        .putInt(RETURN)
        .putInt(SECCOMP_RET_ERRNO | errno)
        .putInt(RETURN)
        .putInt(SECCOMP_RET_ALLOW));
  }

  /** The code of a jump over some instructions unless the value is equal. */
  private static ByteBuffer jump(int ifNot) {
    return ByteBuffer.allocate(4)
        .order(ByteOrder.nativeOrder())
        .putShort((short) JUMP_IF_EQUAL)
        .put((byte) 0)
        .put((byte) ifNot)
        .flip();
  }

  private static ByteBuffer program(int instructions) {
    return NativeBuffer.allocate(8 * instructions).bytes();
  }

  private static void install(ByteBuffer instructions) {
    NativeBuffer program = NativeBuffer.allocate(16);
    program
        .bytes()
        .putShort(0, (short) (instructions.capacity() / 8))
        .putLong(8, NativeBuffer.addressOf(instructions));
    Function prctl = NativeLibrary.getInstance("c").getFunction("prctl");
    call(prctl, PR_SET_NO_NEW_PRIVS, 1, 0);
    call(prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program.address());
    Reference.reachabilityFence(program);
    Reference.reachabilityFence(instructions);
  }

  private static void call(Function prctl, int option, long second, long third) {
    int rc = prctl.invokeInt(new Object[] {option, second, third, 0L, 0L});
    if (rc != 0) {
      throw new IllegalStateException("prctl " + option + " is refused");
    }
  }
}
